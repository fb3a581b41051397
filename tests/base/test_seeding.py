"""Seeds depend on their key alone."""

from aigid.base.seeding import generator, seed_of


def test_keys_decide():
    assert seed_of("jpeg", 0, "abc") == seed_of("jpeg", 0, "abc")
    assert len({seed_of("a", n) for n in range(1000)} | {seed_of("b", n) for n in range(1000)}) == 2000
    assert seed_of("ab", "c") != seed_of("a", "bc")
    assert 0 <= seed_of("x") < 2**63
    assert generator("x").integers(1 << 30) == generator("x").integers(1 << 30)
