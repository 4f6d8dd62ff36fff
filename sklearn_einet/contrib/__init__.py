"""Adapters to other libraries, one module each; importing a module needs its library."""
