"""What every section of a run file is."""

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """A section: unknown names are refused, values do not change after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True)
