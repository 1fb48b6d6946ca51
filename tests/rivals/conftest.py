from tests.train.conftest import no_report

__all__ = ["no_report"]
