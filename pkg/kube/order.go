package kube

import (
	"cmp"
	"slices"
)

// inOrder lists the kinds that others refer to. Kinds that it does not name come after
// these and before the workloads.
//
//nolint:gochecknoglobals // a constant table
var (
	inOrder   = []string{"Namespace", "CustomResourceDefinition", "PriorityClass", "StorageClass", "ServiceAccount", "Secret", "ConfigMap", "PersistentVolumeClaim", "ClusterRole", "Role", "ClusterRoleBinding", "RoleBinding", "NetworkPolicy", "Service"}
	workloads = []string{"Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob", "Pod", "Workflow"}
)

func rank(kind string) int {
	if i := slices.Index(inOrder, kind); i >= 0 {
		return i
	}
	if slices.Contains(workloads, kind) {
		return len(inOrder) + 1
	}
	return len(inOrder)
}

func compareTargets(a, b target) int {
	return cmp.Or(
		cmp.Compare(a.rank, b.rank),
		cmp.Compare(a.obj.GetKind(), b.obj.GetKind()),
		cmp.Compare(a.obj.GetNamespace(), b.obj.GetNamespace()),
		cmp.Compare(a.obj.GetName(), b.obj.GetName()),
	)
}
