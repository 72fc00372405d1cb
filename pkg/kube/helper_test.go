package kube_test

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func deleteNow() *metav1.DeleteOptions {
	zero := int64(0)
	return &metav1.DeleteOptions{GracePeriodSeconds: &zero}
}
