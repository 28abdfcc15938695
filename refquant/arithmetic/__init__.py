"""How numbers are computed: fixed-point primitives, multipliers, requantizers, exact products, float functions."""
