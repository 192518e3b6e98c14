"""A real Kubernetes node beside the control plane, in namespaces of its own, for the tests of what the chart installs.

Everything runs in one mount, process and network namespace, so that nothing touches the machine's own network, /run,
sysctls or firewall, and one kill ends it all. It knows nothing of the operator.
"""
