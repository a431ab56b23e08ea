"""Tables of ComfyUI's face: prompts, their jobs, and the names of uploaded images."""

from __future__ import annotations

from sqlalchemy import Double, ForeignKey, Index, String, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from db.tables.base import Base, EpochSeconds, Id, JsonObject


class ComfyPrompt(Base):
    """A graph that was accepted. `plan` holds its jobs, of which later ones start from images of earlier ones."""

    __tablename__ = "comfyui_prompts"

    id: Mapped[Id] = mapped_column(primary_key=True)
    owner: Mapped[str] = mapped_column(String(120))
    prompt_id: Mapped[str] = mapped_column(String(100))
    """The id that the client chose or was given, unique for its owner."""
    client_id: Mapped[str | None] = mapped_column(String(100))
    number: Mapped[float] = mapped_column(Double)
    """ComfyUI's number of the prompt; negative ones were sent with `front`."""
    prompt: Mapped[JsonObject]
    extra_data: Mapped[JsonObject]
    plan: Mapped[JsonObject]
    """`jobs`: api.comfyui.planning.PlannedJob; `outputs`: the output nodes and the positions of their jobs."""
    result: Mapped[JsonObject | None]
    """ComfyUI's `outputs` and `status`, once the prompt has ended."""
    created_at: Mapped[EpochSeconds]
    completed_at: Mapped[EpochSeconds | None]

    __table_args__ = (UniqueConstraint("owner", "prompt_id"), Index("ix_comfyui_prompts_owner_id", "owner", "id"))


_OPEN = text("completed_at IS NULL")
Index("ix_comfyui_prompts_open", ComfyPrompt.id, sqlite_where=_OPEN, postgresql_where=_OPEN)


class ComfyPromptJob(Base):
    """A job that was submitted for a prompt, by its position in the plan. The job itself may have been deleted since."""

    __tablename__ = "comfyui_jobs"

    prompt: Mapped[Id] = mapped_column(ForeignKey("comfyui_prompts.id", ondelete="CASCADE"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    job_id: Mapped[Id]

    __table_args__ = (Index("ix_comfyui_jobs_job_id", "job_id"),)


class ComfyInput(Base):
    """The name that a client gave to an upload. It is only ever looked up here, and is no file's name."""

    __tablename__ = "comfyui_inputs"

    owner: Mapped[str] = mapped_column(String(120), primary_key=True)
    name: Mapped[str] = mapped_column(String(255), primary_key=True)
    upload_id: Mapped[Id] = mapped_column(ForeignKey("uploads.id", ondelete="CASCADE"))
    created_at: Mapped[EpochSeconds]

    __table_args__ = (Index("ix_comfyui_inputs_upload_id", "upload_id"),)
