package repository

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"syscall"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/kopia/kopia/repo/blob"
	"github.com/minio/minio-go/v7"
	"github.com/studio-b12/gowebdav"
	"google.golang.org/api/googleapi"

	"pivt.io/pivt/pkg/exit"
)

// The kinds of errors; compare with errors.Is.
var (
	ErrNoRepository = errors.New("no repository")
	ErrWrongKey     = errors.New("wrong password")
	ErrCredentials  = errors.New("access refused")
	ErrNoBucket     = errors.New("bucket not found")
	ErrUnreachable  = errors.New("storage does not answer")
	ErrFull         = errors.New("storage is full")
	ErrDamaged      = errors.New("repository is damaged")
	ErrNotFound     = errors.New("not in the repository")
)

// storageError is what the storage said, already sorted. It deliberately hides the error it was
// made of: kopia digs for the innermost error of a chain and would find one without a kind.
type storageError struct {
	kind    error // nil: none of ours
	message string
}

func (e *storageError) Error() string { return e.message }

func (e *storageError) Is(target error) bool { return e.kind != nil && target == e.kind }

// passes are errors by which kopia steers; they have to reach it as they are.
func passes(err error) bool {
	return errors.Is(err, context.Canceled) ||
		errors.Is(err, blob.ErrBlobNotFound) || errors.Is(err, blob.ErrInvalidRange) ||
		errors.Is(err, blob.ErrSetTimeUnsupported) || errors.Is(err, blob.ErrUnsupportedPutBlobOption) ||
		errors.Is(err, blob.ErrBlobAlreadyExists) || errors.Is(err, blob.ErrNotAVolume) ||
		errors.Is(err, blob.ErrUnsupportedObjectLock)
}

// ours tells whether err has been sorted already.
func ours(err error) bool {
	return slices.ContainsFunc(kinds(), func(k error) bool { return errors.Is(err, k) }) || exit.CodeOf(err) == exit.Invalid
}

func kinds() []error {
	return []error{ErrNoRepository, ErrWrongKey, ErrCredentials, ErrNoBucket, ErrUnreachable, ErrFull, ErrDamaged, ErrNotFound}
}

// kindOf sorts an error of a storage; nil if it is none of the kinds.
func kindOf(err error) error {
	var (
		s3     minio.ErrorResponse
		azure  *azcore.ResponseError
		google *googleapi.Error
		dav    gowebdav.StatusError
		timed  net.Error
		dns    *net.DNSError
		path   *os.PathError
	)
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT), contains(err, "no space left", "quota exceeded"):
		return ErrFull
	case errors.Is(err, blob.ErrInvalidCredentials):
		return ErrCredentials
	case errors.As(err, &s3):
		return kindOfCode(s3.StatusCode, s3.Code)
	case errors.As(err, &azure):
		return kindOfCode(azure.StatusCode, azure.ErrorCode)
	case errors.As(err, &google):
		code := ""
		if len(google.Errors) > 0 {
			code = google.Errors[0].Reason
		}
		return kindOfCode(google.Code, code)
	case errors.As(err, &dav):
		return kindOfCode(dav.Status, "")
	case errors.As(err, new(x509.UnknownAuthorityError)), errors.As(err, new(x509.HostnameError)),
		errors.As(err, new(x509.CertificateInvalidError)), contains(err, "certificate matching SHA256 fingerprint"):
		return ErrCredentials
	case contains(err, "unable to authenticate", "knownhosts:", "invalid_grant", "invalid_client"):
		return ErrCredentials
	case contains(err, "bucket doesn't exist", "NoSuchBucket", "ContainerNotFound"):
		return ErrNoBucket
	case errors.Is(err, os.ErrPermission), errors.Is(err, syscall.EROFS):
		return ErrCredentials
	case errors.As(err, &timed), errors.As(err, &dns), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF),
		errors.Is(err, context.DeadlineExceeded), errors.As(err, &path),
		contains(err, "connection refused", "connection reset", "connection lost", "broken pipe", "EOF", "timeout", "server closed", "unexpected packet"):
		return ErrUnreachable
	}
	return nil
}

// kindOfCode sorts an HTTP status and the word that S3, Azure or Google put beside it.
func kindOfCode(status int, code string) error {
	switch code {
	case "NoSuchBucket", "InvalidBucketName", "ContainerNotFound", "ContainerBeingDeleted", "PermanentRedirect", "AuthorizationHeaderMalformed":
		return ErrNoBucket
	case "QuotaExceeded", "XMinioStorageFull", "XMinioAdminBucketQuotaExceeded", "QuotaExceededException", "AccountLimitExceeded", "storageQuotaExceeded":
		return ErrFull
	case "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "AccountProblem", "AllAccessDisabled":
		return ErrCredentials
	case "SlowDown", "RequestTimeout", "ServerBusy", "InternalError", "rateLimitExceeded":
		return ErrUnreachable
	}
	switch {
	case strings.Contains(code, "User"), strings.Contains(code, "AccessKey"):
		return ErrCredentials // "no such user" is a 404 to some
	case status == http.StatusInsufficientStorage:
		return ErrFull
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		return ErrCredentials
	case status == http.StatusNotFound:
		return ErrNoBucket
	case status == http.StatusRequestTimeout, status == http.StatusTooManyRequests, status >= http.StatusInternalServerError:
		return ErrUnreachable
	}
	return nil
}

func contains(err error, texts ...string) bool {
	s := err.Error()
	for _, t := range texts {
		if strings.Contains(s, t) {
			return true
		}
	}
	return false
}

// hint says what to do about a kind.
func hint(kind error) string {
	switch kind {
	case ErrNoRepository:
		return `the first "pivt backup create" makes it; check backup.target, above all its prefix, if there should be one`
	case ErrWrongKey:
		return `key "password" of the Secret must be the one the repository was created with; without it nobody can read the backups`
	case ErrCredentials:
		return `check the credentials in the Secret, and ca.crt or knownHosts if the storage has a certificate or host key of its own; then repeat`
	case ErrNoBucket:
		return `create the bucket or container, or correct backup.target (name, region, endpoint); pivt creates none`
	case ErrUnreachable:
		return `check the endpoint and the network policies, then repeat: what has been stored is not sent again`
	case ErrFull:
		return `free space there or enlarge it, then repeat: what has been stored is not sent again; "pivt backup prune" frees space only some days later`
	case ErrDamaged:
		return `backups that share the damaged data cannot be restored completely: "pivt backup verify" says which, and the next backup is safe under another backup.target.prefix`
	}
	return ""
}

// fail says what of ours could not be done where, with the hint and the code of the error's kind.
func (r *Repository) fail(doing string, err error) error {
	return fail(r.where, doing, err)
}

func fail(where, doing string, err error) error {
	if err == nil || errors.Is(err, context.Canceled) {
		return err
	}
	var marked *storageError
	if errors.As(err, &marked) {
		err = marked // without the ways through kopia by which it came
	}
	err = fmt.Errorf("%s: %s: %w", where, doing, err)
	for _, kind := range kinds() {
		if !errors.Is(err, kind) {
			continue
		}
		if kind == ErrUnreachable {
			err = exit.Transient(err)
		}
		if h := hint(kind); h != "" {
			err = exit.WithHint(err, h)
		}
		break
	}
	return err
}

// damage tells whether err, which kopia returned while it read, is the repository's fault, and
// makes it ErrDamaged then. Whatever the storage or the caller did carries a mark of its own.
func damage(err error) error {
	var marked *storageError
	switch {
	case err == nil, errors.As(err, &marked), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded),
		errors.Is(err, ErrNotFound), errors.Is(err, ErrDamaged), errors.Is(err, ErrWrongKey), errors.Is(err, ErrNoRepository):
		return err
	}
	return fmt.Errorf("%w: %s", ErrDamaged, err)
}
