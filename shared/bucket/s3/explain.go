package s3

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket"
)

// What S3's codes mean to a reader, and to a writer. Where an answer has no code, the SDK makes one of the status: 412 becomes
// PreconditionFailed, which is true whoever says it, and 404 never becomes NoSuchKey.
var (
	notFound = map[string]error{"NoSuchKey": bucket.ErrNotFound}
	conflict = map[string]error{
		"PreconditionFailed":         bucket.ErrConflict,
		"ConditionalRequestConflict": bucket.ErrConflict,
		"NoSuchKey":                  bucket.ErrConflict, // there is nothing to update
	}
)

// explain finds the decision, or else the remedy, in what the SDK says.
func (b *Bucket) explain(err error, decisions map[string]error) error {
	code, known := "", smithy.APIError(nil)
	if errors.As(err, &known) {
		code = known.ErrorCode()
	}
	if decision, found := decisions[code]; found {
		return fmt.Errorf("%w: S3 says %s", decision, code)
	}
	region, status := b.client.Options().Region, 0
	if answer := new(smithyhttp.ResponseError); errors.As(err, &answer) && answer.Response != nil {
		status = answer.HTTPStatusCode()
		if actual := answer.Response.Header.Get("X-Amz-Bucket-Region"); actual != "" && actual != region {
			return fmt.Errorf("the bucket is in region %s and was looked for in %s: set AWS_REGION, or run in the bucket's region: %w",
				actual, region, err)
		}
	}
	switch {
	case code == "NoSuchBucket":
		return fmt.Errorf("there is no bucket %s (looked for in region %s): create it, or correct its name: %w", b.name, region, err)
	case status == http.StatusMovedPermanently, code == "AuthorizationHeaderMalformed", code == "IllegalLocationConstraintException":
		return fmt.Errorf("the bucket is not in region %s: set AWS_REGION, or run in the bucket's region: %w", region, err)
	case code == "AccessDenied":
		return fmt.Errorf("denied: the role needs s3:GetObject and s3:PutObject on the object, and s3:ListBucket on the bucket "+
			"(without which S3 also says this of an object that does not exist); if it has them, a service control policy of the organization, "+
			"a permissions boundary or the bucket's own policy denies it: %w", err)
	}
	return err
}
