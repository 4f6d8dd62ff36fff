# The compiled module, `native/module.c`. Tensors are given by their addresses, 0 for None.

def scale(
    is_double: bool, threads: int, x: int, n: int, k: int, batch: int, scaled: int, maximum: int, /
) -> None: ...
def einsum(
    is_double: bool,
    threads: int,
    x: int,
    gather: int,
    weights: int,
    sums: int,
    n: int,
    m: int,
    k: int,
    batch: int,
    /,
) -> None: ...
def einsum_gradients(
    is_double: bool,
    threads: int,
    x: int,
    gather: int,
    weights: int,
    grad: int,
    grad_x: int,
    grad_weights: int,
    n: int,
    m: int,
    k: int,
    batch: int,
    /,
) -> None: ...
def gathered(
    is_double: bool,
    threads: int,
    a: int,
    a_row: int,
    a_col: int,
    x: int,
    index: int,
    out: int,
    n: int,
    m: int,
    slots: int,
    t: int,
    batch: int,
    /,
) -> None: ...
def gathered_gradient(
    is_double: bool,
    threads: int,
    grad: int,
    x: int,
    index: int,
    grad_a: int,
    n: int,
    m: int,
    slots: int,
    t: int,
    batch: int,
    turned: bool,
    /,
) -> None: ...
