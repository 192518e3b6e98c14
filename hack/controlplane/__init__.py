"""A real Kubernetes control plane on loopback, for tests, for the demo and by hand.

It builds etcd, kube-apiserver and kube-controller-manager from Go modules and runs them without images, root or
network. It knows nothing of the operator.
"""
