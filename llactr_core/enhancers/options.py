"""What can be chosen about the enhancers; imports no torch, so that a service can check a request at once."""

from pydantic import BaseModel, ConfigDict
from pydantic import Field as Setting


class LlactrOptions(BaseModel):
    """Strength and form of FRE and FIE."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    fre_weight: float = Setting(default=0.1, ge=0, description="Factor of the FRE loss; 0 leaves it out.")
    fie_weight: float = Setting(default=0.1, ge=0, description="lambda of the FIE term; 0 leaves it out.")
    fie_rank: int = Setting(default=16, ge=1, le=512, description="Rank of g's bilinear form.")
