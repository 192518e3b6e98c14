"""What a ServiceAccount may do, as the API server itself tells."""

from __future__ import annotations

import json

from hack.controlplane.controlplane import ControlPlane
from hack.stage import SERVICE_ACCOUNT, SYSTEM

Right = tuple[str, str, str]
"""Verb, resource (`group/resource`, core without group), and the only name it is good for (`*`: all)."""


def rights(plane: ControlPlane, namespace: str, account: tuple[str, str]) -> set[Right]:
    """What a ServiceAccount may do in a namespace; the review behind `kubectl auth can-i --list`."""
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectRulesReview",
        "spec": {"namespace": namespace},
    }
    ask = ("create", "--validate=false", "-f", "-", "-o", "json")
    text = plane.kubectl(*ask, stdin=json.dumps(review), kubeconfig=plane.kubeconfig_for(*account))
    status = json.loads(text)["status"]
    assert not status.get("incomplete")
    return {
        (verb, f"{group}/{resource}".removeprefix("/"), name)
        for rule in status["resourceRules"]
        for verb in rule["verbs"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for name in rule.get("resourceNames") or ["*"]
    }


def granted(plane: ControlPlane, namespace: str) -> set[Right]:
    """What the operator may do there beyond what any ServiceAccount may."""
    return rights(plane, namespace, (SYSTEM, SERVICE_ACCOUNT)) - rights(plane, namespace, ("default", "default"))
