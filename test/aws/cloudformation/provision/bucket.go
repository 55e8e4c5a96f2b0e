package provision

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/kube-iam-assume/kube-iam-assume/test/aws/cloudformation"
)

// BlockPublicAccess are the two settings of S3 that concern bucket policies. An account and each bucket have them; the stricter one counts.
type BlockPublicAccess struct {
	Policies bool // no public policy can be put
	Buckets  bool // public policies let no stranger in
}

// bucket is what versitygw does not know of one.
type bucket struct {
	block BlockPublicAccess
	gate  []denial
}

// BlockPublicAccess sets the account's settings.
func (a *Account) BlockPublicAccess(settings BlockPublicAccess) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.blocked = settings
}

type buckets struct{ *Account }

func (k buckets) Create(ctx context.Context, r cloudformation.Request) (cloudformation.Made, error) {
	name, err := k.bucketName(r)
	if err != nil {
		return cloudformation.Made{}, err
	}
	if _, err := k.options.S3.CreateBucket(ctx, &awss3.CreateBucketInput{
		Bucket: &name, CreateBucketConfiguration: &types.CreateBucketConfiguration{LocationConstraint: types.BucketLocationConstraint(k.options.Region)},
	}); err != nil {
		return cloudformation.Made{}, err
	}
	host := name + "." + k.host("s3")
	made := cloudformation.Made{ID: name, Attributes: map[string]any{
		"Arn": "arn:aws:s3:::" + name, "DomainName": name + ".s3.amazonaws.com", "RegionalDomainName": host,
	}}
	if err := k.configure(ctx, name, r.Properties); err != nil {
		return made, err
	}
	k.serve(host, http.HandlerFunc(k.serveS3))
	return made, nil
}

func (k buckets) bucketName(r cloudformation.Request) (string, error) {
	prefix, namespace := r.Text("BucketNamePrefix"), r.Text("BucketNamespace")
	switch {
	case prefix != "" && namespace == "account-regional":
		return fmt.Sprintf("%s-%s-%s-an", prefix, k.options.ID, k.options.Region), nil
	case prefix != "" || namespace != "" && namespace != "global":
		return "", fmt.Errorf("a bucket with BucketNamePrefix %q and BucketNamespace %q can't be had here", prefix, namespace)
	}
	return strings.ToLower(r.Name("BucketName")), nil
}

// configure sets what plays a part here. Encryption, lifecycle and ownership do not.
func (k buckets) configure(ctx context.Context, name string, properties map[string]any) error {
	versioning, _ := properties["VersioningConfiguration"].(map[string]any)
	if versioning["Status"] == "Enabled" {
		if _, err := k.options.S3.PutBucketVersioning(ctx, &awss3.PutBucketVersioningInput{
			Bucket: &name, VersioningConfiguration: &types.VersioningConfiguration{Status: types.BucketVersioningStatusEnabled},
		}); err != nil {
			return err
		}
	}
	block := BlockPublicAccess{true, true} // as of every new bucket
	if given, ok := properties["PublicAccessBlockConfiguration"].(map[string]any); ok {
		block = BlockPublicAccess{given["BlockPublicPolicy"] == true, given["RestrictPublicBuckets"] == true}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.buckets[name] == nil {
		k.buckets[name] = &bucket{}
	}
	k.buckets[name].block = block
	return nil
}

func (k buckets) Update(ctx context.Context, r cloudformation.Request) (cloudformation.Made, error) {
	return cloudformation.Made{ID: r.ID}, k.configure(ctx, r.ID, r.Properties)
}

func (k buckets) Delete(ctx context.Context, r cloudformation.Request) error {
	_, err := k.options.S3.DeleteBucket(ctx, &awss3.DeleteBucketInput{Bucket: &r.ID})
	var gone *types.NoSuchBucket
	if err != nil && !errors.As(err, &gone) {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.buckets, r.ID)
	return nil
}

type bucketPolicies struct{ *Account }

func (k bucketPolicies) Create(ctx context.Context, r cloudformation.Request) (cloudformation.Made, error) {
	name := r.Text("Bucket")
	gate, rest, err := split(r.Properties["PolicyDocument"])
	if err != nil {
		return cloudformation.Made{}, err
	}
	k.mu.Lock()
	known := k.buckets[name]
	refused := known != nil && isPublic(rest) && (known.block.Policies || k.blocked.Policies)
	k.mu.Unlock()
	switch {
	case known == nil:
		return cloudformation.Made{}, fmt.Errorf("bucket %s %w", name, errGone)
	case refused:
		return cloudformation.Made{}, fmt.Errorf("arn:aws:sts::%s:assumed-role/cfn-exec/AWSCloudFormation is not authorized to perform: s3:PutBucketPolicy on "+
			"resource: \"arn:aws:s3:::%s\" because public policies are prevented by the BlockPublicPolicy setting in S3 Block Public Access. "+
			"(Service: S3, Status Code: 403)", k.options.ID, name)
	}
	document, err := json.Marshal(map[string]any{"Version": "2012-10-17", "Statement": rest})
	if err != nil {
		return cloudformation.Made{}, err
	}
	text := string(document)
	if len(rest) > 0 {
		if _, err := k.options.S3.PutBucketPolicy(ctx, &awss3.PutBucketPolicyInput{Bucket: &name, Policy: &text}); err != nil {
			return cloudformation.Made{}, err
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	known.gate = gate
	return cloudformation.Made{ID: name}, nil
}

// isPublic says whether statements let the world in.
func isPublic(statements []any) bool {
	for _, each := range statements {
		statement, _ := each.(map[string]any)
		principal := statement["Principal"]
		if object, ok := principal.(map[string]any); ok {
			principal = object["AWS"]
		}
		if statement["Effect"] == "Allow" && principal == "*" {
			return true
		}
	}
	return false
}

func (k bucketPolicies) Update(ctx context.Context, r cloudformation.Request) (cloudformation.Made, error) {
	return k.Create(ctx, r)
}

func (k bucketPolicies) Delete(ctx context.Context, r cloudformation.Request) error {
	_, err := k.options.S3.DeleteBucketPolicy(ctx, &awss3.DeleteBucketPolicyInput{Bucket: &r.ID})
	k.mu.Lock()
	defer k.mu.Unlock()
	if known := k.buckets[r.ID]; known != nil {
		known.gate = nil
	}
	var gone *types.NoSuchBucket
	if errors.As(err, &gone) {
		return nil
	}
	return err
}
