"""What is said about the time before the cluster is made."""

from dev.cluster.node.forecast import BASE, LAYERS, START_SECONDS, Part, sentence


def test_a_cluster_whose_parts_are_all_cached_only_starts() -> None:
    assert sentence([], 2) == f"everything is cached: the cluster is up in about {START_SECONDS:.0f} s"


def test_what_is_not_cached_is_named_and_shared_by_the_processors() -> None:
    said = sentence([Part("10 programs", 600), BASE], 2)
    assert "10 programs 5 min 00 s" in said
    assert BASE.name in said
    assert said.startswith("the cluster is up in about 6 min on 2 cores")
    assert sentence([Part("10 programs", 600)], 1).startswith("the cluster is up in about 11 min on 1 core ")


def test_the_training_layer_is_the_larger_one() -> None:
    assert LAYERS["training"].seconds > LAYERS["operator"].seconds
