"""Numbers that a program computes once, however many read them.

XLA's CPU code computes a cheap number anew in every loop that reads it, and for every element of
that loop: a TD error, which is a hundred operations, for each of 131,072 weights. Divisions it
counts as dear. So here a number is divided by a 1 that only running tells, which changes no bit.
"""

import jax


def once(x: jax.Array) -> jax.Array:
    """``x`` as it is, [...]; but what is infinite becomes NaN."""
    return x / _one(x)


@jax.custom_jvp
def once_for_gradients(x: jax.Array) -> jax.Array:
    """``x`` as it is; where something is differentiated, ``x`` and its gradient are computed once.

    For what is before and behind a matrix that sees one observation: the gradient of the matrix is
    the outer product of the two, and each would be computed for all of its elements.
    """
    return x


@once_for_gradients.defjvp
def _differentiated(primals: tuple[jax.Array], tangents: tuple[jax.Array]):
    (x,), (tangent,) = primals, tangents
    return once(x), tangent / _one(x)


def _one(x: jax.Array) -> jax.Array:
    return 1.0 + 0.0 * jax.lax.stop_gradient(x)
