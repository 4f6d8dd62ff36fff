"""Small circuits, tables and models, and slow but obvious ways to evaluate them."""
