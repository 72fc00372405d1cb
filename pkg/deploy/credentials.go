package deploy

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"pivt.io/pivt/pkg/backup"
	"pivt.io/pivt/pkg/exit"
	"pivt.io/pivt/pkg/keeper"
	"pivt.io/pivt/pkg/kube"
	"pivt.io/pivt/pkg/workflow"
)

// CheckCredentials finds out, before anything is begun, whether what the backup's pods mount is
// there: the Secret with the keys that the target needs, and the claim of a pvc target.
// Their values are not looked at. For a repository that may be new, the password may be, too.
func (d *Deployment) CheckCredentials(ctx context.Context, s backup.Settings, fresh bool) error {
	ns := d.Kube.Namespace()
	secret, err := d.Kube.Core().CoreV1().Secrets(ns).Get(ctx, s.SecretName, metav1.GetOptions{})
	switch {
	case apierrors.IsForbidden(err): // pods may mount what their user may not read
	case apierrors.IsNotFound(err):
		return exit.WithHint(exit.With(fmt.Errorf("secret/%s is not in namespace %s: it holds the password of the backup repository%s", s.SecretName, ns, andCredentials(s.Target)), exit.Invalid),
			d.makeNamespace(ctx)+makeSecret(ns, s, fresh)+aboutPassword(fresh))
	case err != nil:
		return kube.Explain(fmt.Errorf("reading secret/%s: %w", s.SecretName, err))
	default:
		if missing := missingKeys(secret, s.Target.Type); len(missing) > 0 {
			return exit.WithHint(exit.With(fmt.Errorf("secret/%s in namespace %s lacks %s", s.SecretName, ns, strings.Join(missing, " and ")), exit.Invalid),
				"a complete one is made by: "+makeSecret(ns, s, fresh)+aboutPassword(fresh))
		}
	}
	if s.Target.Type != backup.PVC {
		return nil
	}
	claim := s.Target.PVC.ClaimName
	_, err = d.Kube.Core().CoreV1().PersistentVolumeClaims(ns).Get(ctx, claim, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return exit.WithHint(exit.With(fmt.Errorf("persistentvolumeclaim/%s (backup.target.pvc.claimName) is not in namespace %s", claim, ns), exit.Invalid),
			"make the claim first; the volume should be on other disks than the nodes' volumes")
	}
	return nil // who may not read claims will see it in the pod's reason
}

func andCredentials(t backup.Target) string {
	if t.Type == backup.PVC {
		return ""
	}
	return " and the credentials of the storage"
}

// neededKeys are the keys of the Secret by target; one of each list must be there. Those that a
// storage can do without, as with credentials of the machine, are not in it.
func neededKeys(t backup.TargetType) [][]string {
	all := [][]string{{backup.CredentialPassword}}
	switch t {
	case backup.S3:
		all = append(all, []string{backup.CredentialAccessKeyID}, []string{backup.CredentialSecretAccessKey})
	case backup.Azure:
		all = append(all, []string{backup.CredentialStorageKey, backup.CredentialSASToken})
	case backup.GCS:
		all = append(all, []string{backup.CredentialGCSKey})
	case backup.SFTP:
		all = append(all, []string{backup.CredentialSSHKey, backup.CredentialSSHPassword}, []string{backup.CredentialKnownHosts})
	case backup.WebDAV, backup.PVC:
	}
	return all
}

func missingKeys(secret *corev1.Secret, t backup.TargetType) []string {
	var missing []string
	for _, choice := range neededKeys(t) {
		if !slices.ContainsFunc(choice, func(k string) bool { return len(secret.Data[k]) > 0 }) {
			missing = append(missing, "key "+strings.Join(choice, " or "))
		}
	}
	return missing
}

// makeNamespace is what must come before the Secret where there is no namespace yet.
func (d *Deployment) makeNamespace(ctx context.Context) string {
	ns := d.Kube.Namespace()
	if _, err := d.Kube.Core().CoreV1().Namespaces().Get(ctx, ns, metav1.GetOptions{}); apierrors.IsNotFound(err) {
		return fmt.Sprintf("kubectl create namespace %s && ", ns)
	}
	return ""
}

func aboutPassword(fresh bool) string {
	if fresh {
		return "; keep a copy of the password elsewhere: without it no backup can be read"
	}
	return "; the password is the one that the repository was made with"
}

// makeSecret is the command that makes the Secret, with no credential in it that would stay
// in a shell's history.
func makeSecret(namespace string, s backup.Settings, fresh bool) string {
	password := "$(openssl rand -hex 24)"
	if !fresh {
		password = "$BACKUP_PASSWORD"
	}
	command := fmt.Sprintf(`kubectl -n %s create secret generic %s --from-literal=%s="%s"`, namespace, s.SecretName, backup.CredentialPassword, password)
	switch s.Target.Type {
	case backup.S3:
		command += fmt.Sprintf(` --from-literal=%s="$AWS_ACCESS_KEY_ID" --from-literal=%s="$AWS_SECRET_ACCESS_KEY"`, backup.CredentialAccessKeyID, backup.CredentialSecretAccessKey)
	case backup.Azure:
		command += fmt.Sprintf(` --from-literal=%s="$AZURE_STORAGE_KEY"`, backup.CredentialStorageKey)
	case backup.GCS:
		command += fmt.Sprintf(` --from-file=%s="$GOOGLE_APPLICATION_CREDENTIALS"`, backup.CredentialGCSKey)
	case backup.SFTP:
		command += fmt.Sprintf(` --from-file=%s="$HOME/.ssh/id_ed25519" --from-file=%s="$HOME/.ssh/known_hosts"`, backup.CredentialSSHKey, backup.CredentialKnownHosts)
	case backup.WebDAV:
		command += fmt.Sprintf(` --from-literal=%s="$WEBDAV_USER" --from-literal=%s="$WEBDAV_PASSWORD"`, backup.CredentialWebDAVUser, backup.CredentialWebDAVPassword)
	case backup.PVC:
	}
	return command
}

// sealedKey is the file's name in the ConfigMap, and what the flow looks for.
const sealedKey = "crypto-config.age"

// cryptoConfigMap is where an encrypted crypto-config/ waits for its backup.
func cryptoConfigMap(key string) string { return "hlf-crypto-config--" + key }

// PutCryptoConfig hands an encrypted crypto-config/ to the backup with this key and returns the
// name of the ConfigMap. RunBackup leaves it to the workflow, with which it goes.
func (d *Deployment) PutCryptoConfig(ctx context.Context, key string, sealed []byte) (string, error) {
	maps := d.Kube.Core().CoreV1().ConfigMaps(d.Kube.Namespace())
	l := labels(nil, nil)
	l[keeper.KeyLabel] = key
	m := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: cryptoConfigMap(key), Labels: l},
		BinaryData: map[string][]byte{sealedKey: sealed},
	}
	_, err := maps.Create(ctx, m, metav1.CreateOptions{FieldManager: kube.FieldManager})
	if apierrors.IsAlreadyExists(err) {
		_, err = maps.Update(ctx, m, metav1.UpdateOptions{FieldManager: kube.FieldManager})
	}
	if err != nil {
		return "", kube.Explain(fmt.Errorf("storing configmap/%s: %w", m.Name, err))
	}
	return m.Name, nil
}

// RemoveCryptoConfig takes it away again.
func (d *Deployment) RemoveCryptoConfig(ctx context.Context, name string) error {
	err := d.Kube.Core().CoreV1().ConfigMaps(d.Kube.Namespace()).Delete(ctx, name, metav1.DeleteOptions{})
	if err == nil || apierrors.IsNotFound(err) {
		return nil
	}
	return kube.Explain(fmt.Errorf("deleting configmap/%s: %w", name, err))
}

// bequeath has the ConfigMap go when the workflow does, if nobody removes it before. That it
// may not work is no reason to fail: the content is encrypted.
func (d *Deployment) bequeath(ctx context.Context, name string, run *workflow.Run) {
	patch := fmt.Sprintf(`{"metadata":{"ownerReferences":[{"apiVersion":"argoproj.io/v1alpha1","kind":"Workflow","name":%q,"uid":%q}]}}`, run.Name, run.UID)
	_, _ = d.Kube.Core().CoreV1().ConfigMaps(d.Kube.Namespace()).Patch(ctx, name, types.MergePatchType, []byte(patch), metav1.PatchOptions{FieldManager: kube.FieldManager})
}
