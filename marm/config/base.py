"""What every section of a run file is."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]


class Settings(BaseModel):
    """A section: unknown names are refused, values do not change after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True)
