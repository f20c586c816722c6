"""The faults that `mutations.py` seeds, and those that no test can notice."""

from tests.kernels import faults_of_attention, faults_of_products, faults_of_rows

FAULTS = [
    *faults_of_rows.NORMS,
    *faults_of_rows.ROTARY,
    *faults_of_rows.GATED,
    *faults_of_attention.RANGES,
    *faults_of_attention.ATTENTION,
    *faults_of_attention.ATTENTION_BACKWARD,
    *faults_of_products.CROSS_ENTROPY,
    *faults_of_products.KL,
    *faults_of_products.GROUPED,
    *faults_of_products.INT8,
]

EQUIVALENT: dict[str, str] = {
    "int8_matmul: rows of x masked by <=": "one token or two: as many as the block of rows holds",
}
"""The faults that change nothing that can be seen, each with the reason."""
