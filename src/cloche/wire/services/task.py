"""`containerd.task.v2.Task` and `.v3.Task`: what a shim offers for containers."""

from __future__ import annotations

from cloche.wire.messages import task
from cloche.wire.messages.google import Empty
from cloche.wire.service import Method, Service

_METHODS = (
    Method("State", task.StateRequest, task.StateResponse),
    Method("Create", task.CreateTaskRequest, task.CreateTaskResponse),
    Method("Start", task.StartRequest, task.StartResponse),
    Method("Delete", task.DeleteRequest, task.DeleteResponse),
    Method("Pids", task.PidsRequest, task.PidsResponse),
    Method("Pause", task.PauseRequest, Empty),
    Method("Resume", task.ResumeRequest, Empty),
    Method("Checkpoint", task.CheckpointTaskRequest, Empty),
    Method("Kill", task.KillRequest, Empty),
    Method("Exec", task.ExecProcessRequest, Empty),
    Method("ResizePty", task.ResizePtyRequest, Empty),
    Method("CloseIO", task.CloseIORequest, Empty),
    Method("Update", task.UpdateTaskRequest, Empty),
    Method("Wait", task.WaitRequest, task.WaitResponse),
    Method("Stats", task.StatsRequest, task.StatsResponse),
    Method("Connect", task.ConnectRequest, task.ConnectResponse),
    Method("Shutdown", task.ShutdownRequest, Empty),
)

TASK_V2 = Service("containerd.task.v2.Task", *_METHODS)
TASK_V3 = Service("containerd.task.v3.Task", *_METHODS)
