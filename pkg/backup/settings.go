package backup

import (
	"time"

	corev1 "k8s.io/api/core/v1"
)

// TargetType is a kind of storage that can hold the repository.
type TargetType string

// The kinds, spelled as in backup.target.type.
const (
	S3     TargetType = "s3"
	Azure  TargetType = "azure"
	GCS    TargetType = "gcs"
	SFTP   TargetType = "sftp"
	WebDAV TargetType = "webdav"
	PVC    TargetType = "pvc"
)

// Target says where the repository is. Credentials are not in it: they are keys of a Secret,
// see Credential….
type Target struct {
	Type   TargetType   `json:"type"`
	Prefix string       `json:"prefix,omitempty"` // of all objects, or a directory; ends with "/" if set
	S3     S3Target     `json:"s3,omitzero"`
	Azure  AzureTarget  `json:"azure,omitzero"`
	GCS    GCSTarget    `json:"gcs,omitzero"`
	SFTP   SFTPTarget   `json:"sftp,omitzero"`
	WebDAV WebDAVTarget `json:"webdav,omitzero"`
	PVC    PVCTarget    `json:"pvc,omitzero"`
}

// S3Target is a bucket of Amazon S3 or of anything that speaks its protocol.
type S3Target struct {
	Endpoint string `json:"endpoint,omitempty"` // host or host:port; default s3.amazonaws.com
	Bucket   string `json:"bucket,omitempty"`
	Region   string `json:"region,omitempty"`
	HTTP     bool   `json:"http,omitempty"` // plain HTTP, for test servers
}

// AzureTarget is a container of Azure Blob Storage.
type AzureTarget struct {
	Account   string `json:"account,omitempty"`
	Container string `json:"container,omitempty"`
	Domain    string `json:"domain,omitempty"` // default blob.core.windows.net
}

// GCSTarget is a bucket of Google Cloud Storage.
type GCSTarget struct {
	Bucket string `json:"bucket,omitempty"`
}

// SFTPTarget is a directory on an SSH server.
type SFTPTarget struct {
	Host string `json:"host,omitempty"`
	Port int    `json:"port,omitempty"` // default 22
	Path string `json:"path,omitempty"`
	User string `json:"user,omitempty"`
}

// WebDAVTarget is a directory on a WebDAV server.
type WebDAVTarget struct {
	URL string `json:"url,omitempty"`
}

// PVCTarget is a PersistentVolumeClaim of the network's namespace, mounted at RepositoryDir.
type PVCTarget struct {
	ClaimName string `json:"claimName,omitempty"`
}

// Keys of the Secret with the repository's password and the storage's credentials. Only
// CredentialPassword is always needed.
const (
	CredentialPassword        = "password"        // encrypts the repository
	CredentialAccessKeyID     = "accessKeyId"     // s3
	CredentialSecretAccessKey = "secretAccessKey" // s3
	CredentialSessionToken    = "sessionToken"    // s3, optional
	CredentialStorageKey      = "storageKey"      // azure
	CredentialSASToken        = "sasToken"        // azure, instead of storageKey
	CredentialGCSKey          = "credentials.json"
	CredentialSSHKey          = "sshKey"         // sftp
	CredentialSSHPassword     = "sshPassword"    // sftp, instead of sshKey
	CredentialKnownHosts      = "knownHosts"     // sftp
	CredentialWebDAVUser      = "webdavUser"     // webdav
	CredentialWebDAVPassword  = "webdavPassword" // webdav
	CredentialCA              = "ca.crt"         // PEM of a private CA in front of s3 or webdav, optional
)

// Where pods of the backup flow find what they read.
const (
	CredentialsDir = "/run/pivt/credentials" // the Secret
	RepositoryDir  = "/run/pivt/repository"  // the claim of a pvc target
	CacheDir       = "/run/pivt/cache"       // an emptyDir
	VolumesDir     = "/run/pivt/volumes"     // a copy pod's volumes of the node: data, couchdb
	ScratchDir     = "/run/pivt/scratch"     // what verify restores into
)

// Parts say what a backup holds. A node's ledger is not a part: without it, the node is not.
type Parts struct {
	Peers      bool `json:"peers"`      // peers, with ledgers and private data
	State      bool `json:"state"`      // peers' state databases; without, a restored peer builds them from its blocks
	Chaincodes bool `json:"chaincodes"` // peers' installed packages and builds
	Transient  bool `json:"transient"`  // peers' private data of transactions that are not committed yet
	Orderers   bool `json:"orderers"`   // orderers, with consensus logs
	CAs        bool `json:"cas"`        // CAs that run in the namespace
	Files      bool `json:"files"`      // the input files
	MSPs       bool `json:"msps"`       // organisations' public certificates
}

// AllParts is what is saved unless the values say otherwise.
func AllParts() Parts {
	return Parts{Peers: true, State: true, Chaincodes: true, Transient: true, Orderers: true, CAs: true, Files: true, MSPs: true}
}

// Settings are what chart backup-flow makes of its values for the steps: the workflow's
// parameter "settings", and what the command line reads from the rendered workflow.
type Settings struct {
	Target     Target `json:"target"`
	SecretName string `json:"secretName"`
	Parts      Parts  `json:"parts"`
	Keep       Keep   `json:"keep"`
	// SnapshotClass is a VolumeSnapshotClass: nodes are started as soon as their volumes have
	// been snapshotted, and clones are copied. Empty: the node waits for its copy.
	SnapshotClass string `json:"snapshotClass,omitempty"`
	// MaxDowntime is how long a node may be stopped for its copy; then it is started, whatever
	// becomes of the backup. A Go duration.
	MaxDowntime string      `json:"maxDowntime"`
	Scratch     Scratch     `json:"scratch"`
	Pod         PodSettings `json:"pod"`
}

// Scratch is the volume that a verification restores into.
type Scratch struct {
	Size         string `json:"size,omitempty"` // of an ephemeral claim; empty for an emptyDir
	StorageClass string `json:"storageClass,omitempty"`
}

// PodSettings are what all pods of the flow have in common that the flow makes itself.
type PodSettings struct {
	Image              string                        `json:"image"`
	ImagePullPolicy    corev1.PullPolicy             `json:"imagePullPolicy"`
	ImagePullSecrets   []corev1.LocalObjectReference `json:"imagePullSecrets,omitempty"`
	ServiceAccountName string                        `json:"serviceAccountName"`
	Resources          corev1.ResourceRequirements   `json:"resources"`
	NodeSelector       map[string]string             `json:"nodeSelector,omitempty"`
	Tolerations        []corev1.Toleration           `json:"tolerations,omitempty"`
	PriorityClassName  string                        `json:"priorityClassName,omitempty"`
	Labels             map[string]string             `json:"labels,omitempty"`
	Annotations        map[string]string             `json:"annotations,omitempty"`
	ExtraEnv           []corev1.EnvVar               `json:"extraEnv,omitempty"`
	SecurityContext    *corev1.PodSecurityContext    `json:"securityContext"`
	ContainerContext   *corev1.SecurityContext       `json:"containerSecurityContext"`
}

// Downtime is MaxDowntime parsed; 15 minutes if it is not a duration.
func (s Settings) Downtime() time.Duration {
	d, err := time.ParseDuration(s.MaxDowntime)
	if err != nil || d <= 0 {
		return 15 * time.Minute
	}
	return d
}
