"""What every section of a recipe is made of."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Positive = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
Rate = Annotated[float, Field(gt=0.0, le=1.0)]


class Strict(BaseModel):
    """A section: a key that it does not know is an error, and nothing changes it."""

    model_config = ConfigDict(extra="forbid", frozen=True)
