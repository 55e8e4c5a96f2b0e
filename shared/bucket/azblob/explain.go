package azblob

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/bloberror"

	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket"
)

// What Azure's codes mean to a reader, and to a writer. An answer without a code is not Azure's, and decides nothing.
var (
	notFound = map[bloberror.Code]error{bloberror.BlobNotFound: bucket.ErrNotFound}
	conflict = map[bloberror.Code]error{
		bloberror.BlobAlreadyExists:     bucket.ErrConflict,
		bloberror.ConditionNotMet:       bucket.ErrConflict,
		bloberror.TargetConditionNotMet: bucket.ErrConflict,
		bloberror.BlobNotFound:          bucket.ErrConflict, // there is nothing to update
	}
)

const denied = "denied: the identity needs Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read and .../write on the container " +
	"(a role assignment takes up to ten minutes to be in force)"

// remedies say what to do about what a retry does not cure.
var remedies = map[bloberror.Code]string{
	bloberror.ContainerNotFound:               "there is no such container: create it, or correct the URL",
	bloberror.ContainerBeingDeleted:           "the container is being deleted, which takes minutes: create it again afterwards",
	bloberror.ContainerDisabled:               "the container is disabled: ask Azure's support",
	bloberror.LeaseIDMissing:                  "somebody holds a lease on the blob: break it (az storage blob lease break), and keep tools that lease away from this container",
	bloberror.InvalidBlobType:                 "the blob is an append or page blob, so it is none of this project's: move it away",
	bloberror.SnapshotsPresent:                "the blob has snapshots that stand in the way: remove them",
	bloberror.BlobArchived:                    "the blob is in the archive tier: move it to a hot or cool tier, and take this container out of the lifecycle rule",
	bloberror.BlobBeingRehydrated:             "the blob is coming back from the archive tier, which takes hours: take this container out of the lifecycle rule",
	blobImmutableDueToLegalHold:               "the container has a legal hold: take it off, only the log's records are never overwritten",
	bloberror.BlobImmutableDueToPolicy:        "the container has an immutability policy: take it off, only the log's records are never overwritten",
	bloberror.AuthorizationPermissionMismatch: denied,
	unauthorizedBlobOverwrite:                 denied,
	bloberror.AuthorizationFailure:            "denied by the account's network rules: let the function's subnet in, or open the account's firewall",
	bloberror.AuthenticationFailed:            "the token was not accepted: the clock may be wrong, or the identity be another tenant's than the account",
	bloberror.InvalidAuthenticationInfo:       "the token was not accepted: the clock may be wrong, or the identity be another tenant's than the account",
	bloberror.AccountIsDisabled:               "the storage account is disabled: look at the subscription",
	keyBasedAuthenticationNotPermitted:        "the account takes no shared keys: use an identity",
	bloberror.InsufficientAccountPermissions:  "the account may only be read: look for a lock, or a failover that is under way",
}

// Codes of the service that the SDK does not name.
const (
	blobImmutableDueToLegalHold        bloberror.Code = "BlobImmutableDueToLegalHold"
	keyBasedAuthenticationNotPermitted bloberror.Code = "KeyBasedAuthenticationNotPermitted"
	unauthorizedBlobOverwrite          bloberror.Code = "UnauthorizedBlobOverwrite"
)

// explain finds the decision, or else the remedy, in what the SDK says. The SDK's own text is a page with the answer's body; what is kept of
// it is what a person searches for.
func (b *Bucket) explain(err error, decisions map[bloberror.Code]error) error {
	answer, unknown, unauthenticated := new(azcore.ResponseError), new(net.DNSError), new(azidentity.AuthenticationFailedError)
	switch {
	case errors.As(err, &unauthenticated):
		return fmt.Errorf("no token: is the identity that AZURE_CLIENT_ID names assigned to this function app? %s", line(unauthenticated))
	case errors.As(err, &unknown):
		return fmt.Errorf("there may be no such storage account: correct the URL: %w", err)
	case !errors.As(err, &answer):
		return err
	}
	code := bloberror.Code(answer.ErrorCode)
	said := fmt.Sprintf("Azure says %d %s", answer.StatusCode, code)
	if answer.RawResponse != nil {
		if id := answer.RawResponse.Header.Get("X-Ms-Request-Id"); id != "" {
			said += " (request " + id + ")"
		}
	}
	if decision, found := decisions[code]; found {
		return fmt.Errorf("%w: %s", decision, said)
	}
	if remedy, found := remedies[code]; found {
		return fmt.Errorf("%s: %s", remedy, said)
	}
	if code == "" && answer.StatusCode == http.StatusNotFound {
		return fmt.Errorf("what answers is not Azure Blob Storage, or not at this URL: %s", said)
	}
	return errors.New(said)
}

// line makes one line of the SDK's page.
func line(err error) string {
	var kept []string
	for part := range strings.Lines(err.Error()) {
		if part = strings.TrimSpace(part); part != "" && !strings.HasPrefix(part, "----") {
			kept = append(kept, part)
		}
	}
	return strings.Join(kept, " ")
}
