"""Builds what a TrainingRun needs: sizes, the RayCluster, the driver's command line, the results' ConfigMap. Pure.

Not here: whether and when an object is created (`policies`), and creating it (`act`).
"""
