from tests.support.fixtures import fake_clock

__all__ = ["fake_clock"]
