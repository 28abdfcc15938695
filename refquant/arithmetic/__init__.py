"""How numbers are computed: fixed-point primitives, multipliers, requantizers, exact products, affine maps, float functions."""
