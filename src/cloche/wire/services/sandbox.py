"""`containerd.runtime.sandbox.v1.Sandbox`: what a shim offers for a pod."""

from __future__ import annotations

from cloche.wire.messages import sandbox
from cloche.wire.service import Method, Service

SANDBOX = Service(
    "containerd.runtime.sandbox.v1.Sandbox",
    Method("CreateSandbox", sandbox.CreateSandboxRequest, sandbox.CreateSandboxResponse),
    Method("StartSandbox", sandbox.StartSandboxRequest, sandbox.StartSandboxResponse),
    Method("Platform", sandbox.PlatformRequest, sandbox.PlatformResponse),
    Method("StopSandbox", sandbox.StopSandboxRequest, sandbox.StopSandboxResponse),
    Method("WaitSandbox", sandbox.WaitSandboxRequest, sandbox.WaitSandboxResponse),
    Method("SandboxStatus", sandbox.SandboxStatusRequest, sandbox.SandboxStatusResponse),
    Method("PingSandbox", sandbox.PingRequest, sandbox.PingResponse),
    Method("ShutdownSandbox", sandbox.ShutdownSandboxRequest, sandbox.ShutdownSandboxResponse),
    Method("SandboxMetrics", sandbox.SandboxMetricsRequest, sandbox.SandboxMetricsResponse),
)
