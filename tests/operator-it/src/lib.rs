//! The operator, the chart and the relay on a real cluster: see `tests/end_to_end`.
