"""Published and earlier results that ``benchmark_forecast.py`` compares with."""

RNSL_ANCHORS = {
    "last value": (0.0938, 0.0083, 0.0075, 0.0092, 0.0753),
    "M1": (0.1046, 0.2217, 0.0140, 0.0148, 0.0963),
    "M2": (0.0801, 0.0341, 0.0010, 0.0132, 0.0661),
    "M3": (0.0615, 0.0471, 0.0023, 0.0087, 0.0518),
    "M4, least squares": (0.0417, 0.0125, 0.0008, 0.0086, 0.0343),
    "broken neural scaling law": (0.0397, 0.0113, 0.0010, 0.0171, 0.0336),
    "power law + floor": (0.0683, 0.0470, 0.0011, 0.0105, 0.0572),
    "the same, weighted by joules squared": (0.0286, 0.0157, 0.0008, 0.0131, 0.0247),
}
"""RMSLE on image, translation, language, BIG-bench and all tasks."""

REFERENCE = {
    "gemstones": {0.25: (0.29, 6.63), 0.5: (0.13, 3.26), 0.75: (0.04, 1.35)},
    "mlperf_bert_err": {0.5: (21.41, 48.62), 0.75: (5.85, 20.40)},
    "mlperf_dlrm_err": {0.5: (0.18, 3.97), 0.75: (0.09, 1.64)},
    "mlperf_gpt3": {0.25: (0.54, 6.77), 0.5: (0.35, 3.36), 0.75: (0.18, 1.41)},
    "mlperf_unet3d_err": {0.5: (6.94, 49.00), 0.75: (4.67, 29.21)},
    "mpl_const": {0.25: (1.44, 6.68), 0.5: (0.41, 3.27), 0.75: (0.13, 1.34)},
    "mpl_cosine": {0.25: (3.23, 9.61), 0.5: (0.93, 3.71), 0.75: (0.10, 1.98)},
    "mpl_wsd": {0.25: (4.35, 27.10), 0.5: (2.91, 29.01), 0.75: (2.49, 37.86)},
    "mpl_wsdcon": {0.25: (2.15, 11.42), 0.5: (1.44, 3.63), 0.75: (1.78, 8.06)},
    "nanogpt_t1": {0.25: (3.90, 15.04), 0.5: (2.82, 20.96), 0.75: (2.45, 33.71)},
    "nanogpt_t2": {0.25: (3.99, 12.31), 0.5: (2.32, 13.49), 0.75: (1.19, 7.73)},
}
"""Median error and interval score, in % of loss, of a power law with a floor alone on the same grid posterior, rate
unknown, 1 % of the level per doubling: what this package did before it knew of other families, late starts and
annealing."""
