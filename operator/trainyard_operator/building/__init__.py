"""From a TrainingRun to what it needs: sizes, the RayCluster, the driver's command line, the results' ConfigMap. Pure.

Not here: whether and when it is made (`policies`), and making it (`act`).
"""
