// The process of a pod's sandbox container.
module pantograph/controlplane/pause

go 1.26.0
