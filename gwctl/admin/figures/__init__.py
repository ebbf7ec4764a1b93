"""Figures for machines and for curves: Prometheus' families, and samples of the last minutes.

Imported by `admin`.
Knows nothing of `supervisor`, `workers`, `cli`, `admin.app`: how they come here is said in `control.metrics`.
"""
