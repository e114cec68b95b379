"""What can be chosen about the enhancers; imports no torch, so that a service can check a request at once."""

from pydantic import BaseModel, ConfigDict
from pydantic import Field as Setting


class LlactrOptions(BaseModel):
    """Strength and form of FRE, FIE and value semantics."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    fre_weight: float = Setting(default=0.1, ge=0, description="Factor of the FRE loss; 0 leaves it out.")
    fie_weight: float = Setting(default=0.1, ge=0, description="lambda of the FIE term; 0 leaves it out.")
    fie_rank: int = Setting(default=16, ge=1, le=512, description="Rank of g's bilinear form.")
    value_dims: int = Setting(
        default=64, ge=0, le=4096, description="Dimensions of a value's vector that are used; 0 leaves values out."
    )
    value_trust: float = Setting(
        default=10.0, gt=0, description="The count at which a value's own embedding and its text weigh alike."
    )

    @property
    def needs_fields(self) -> bool:
        """Whether a field table is needed."""
        return self.fre_weight > 0 or self.fie_weight > 0
