"""Seeds depend on their key alone."""

from aigid.core.seeding import derive_seed, numpy_generator


def test_keys_decide():
    assert derive_seed("jpeg", 0, "abc") == derive_seed("jpeg", 0, "abc")
    assert len({derive_seed("a", n) for n in range(1000)} | {derive_seed("b", n) for n in range(1000)}) == 2000
    assert derive_seed("ab", "c") != derive_seed("a", "bc")
    assert 0 <= derive_seed("x") < 2**63
    assert numpy_generator("x").integers(1 << 30) == numpy_generator("x").integers(1 << 30)
