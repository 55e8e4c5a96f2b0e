package stack

import (
	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/aws-cdk-go/awscdk/v2/awss3"
	"github.com/aws/constructs-go/constructs/v10"
	"github.com/aws/jsii-runtime-go"
)

// stores are the two buckets, which outlive the stack.
type stores struct {
	documents, private awss3.Bucket
	readable           []constructs.IConstruct // what must exist before the world can read the documents
}

func (b *builder) makeStores() {
	documents := &awss3.BucketProps{
		Versioned: new(true), EnforceSSL: new(true), Encryption: awss3.BucketEncryption_S3_MANAGED, RemovalPolicy: awscdk.RemovalPolicy_RETAIN,
		ObjectOwnership: awss3.ObjectOwnership_BUCKET_OWNER_ENFORCED, BlockPublicAccess: awss3.BlockPublicAccess_BLOCK_ALL(),
		LifecycleRules: &[]*awss3.LifecycleRule{{
			Id: new("keep-20-or-90-days"), NoncurrentVersionExpiration: awscdk.Duration_Days(new(90.0)), NoncurrentVersionsToRetain: new(20.0),
		}},
	}
	private := *documents
	if b.isPublic() {
		// Its name is fixed: a first deploy that fails must not leave the empty bucket in the way of the second.
		documents.RemovalPolicy = awscdk.RemovalPolicy_RETAIN_ON_UPDATE_OR_DELETE
		documents.BlockPublicAccess = awss3.NewBlockPublicAccess(&awss3.BlockPublicAccessOptions{
			BlockPublicAcls: new(true), IgnorePublicAcls: new(true), BlockPublicPolicy: new(false), RestrictPublicBuckets: new(false),
		})
	}
	switch h := b.file.Hosting; {
	case h.BucketPrefix != "":
		documents.BucketNamePrefix, documents.BucketNamespace = new(h.BucketPrefix), awss3.BucketNamespace_ACCOUNT_REGIONAL
	case h.BucketName != "":
		documents.BucketName = new(h.BucketName)
	}
	b.documents = awss3.NewBucket(b.scope, new("Documents"), documents)
	b.private = awss3.NewBucket(b.scope, new("Private"), &private)
}

// blocked is said at every synthesis, because CloudFormation's own words for it are only "Access Denied".
const blocked = "If the deploy stops at this bucket's policy with Access Denied, S3 Block Public Access is on for the account or the organization " +
	"(BlockPublicPolicy, RestrictPublicBuckets): turn these two off for the account, or choose hosting: {cloudFront: ...}, which needs no public bucket"

func (b *builder) isPublic() bool {
	return b.file.Hosting.BucketPrefix != "" || b.file.Hosting.BucketName != ""
}

// documentARNs are all objects that the world may read.
func (b *builder) documentARNs() *[]*string {
	var all []*string
	for _, c := range b.file.Clusters {
		objects := c.Objects()
		all = append(all, b.documents.ArnForObjects(new(objects.Discovery)), b.documents.ArnForObjects(new(objects.JWKS)))
	}
	return &all
}

// limitStores says who may read and write the buckets, whatever rights somebody has in the account.
func (b *builder) limitStores() {
	if b.isPublic() {
		b.documents.AddToResourcePolicy(awsiam.NewPolicyStatement(&awsiam.PolicyStatementProps{
			Sid: new("TheWorldReadsTheDocuments"), Principals: everybody(), Actions: jsii.Strings("s3:GetObject"), Resources: b.documentARNs(),
		}))
		b.readable = append(b.readable, b.documents.Policy())
		awscdk.Annotations_Of(b.documents).AddInfoV2(new("kube-iam-assume:block-public-access"), new(blocked))
	} else {
		b.distribute()
	}
	for _, bucket := range []awss3.Bucket{b.documents, b.private} {
		b.denyOthers(bucket)
	}
}

// denyOthers lets nobody write but the function, and the function only on the condition that it knows what it replaces.
func (b *builder) denyOthers(bucket awss3.Bucket) {
	objects := &[]*string{bucket.ArnForObjects(new("*"))}
	bucket.AddToResourcePolicy(awsiam.NewPolicyStatement(&awsiam.PolicyStatementProps{
		Sid: new("OnlyTheFunctionWrites"), Effect: awsiam.Effect_DENY, Principals: everybody(), Resources: objects,
		Actions:    jsii.Strings("s3:PutObject", "s3:DeleteObject", "s3:DeleteObjectVersion"),
		Conditions: &map[string]any{"ArnNotEquals": map[string]any{"aws:PrincipalArn": b.role.RoleArn()}},
	}))
	bucket.AddToResourcePolicy(awsiam.NewPolicyStatement(&awsiam.PolicyStatementProps{
		Sid: new("OnlyConditionalWrites"), Effect: awsiam.Effect_DENY, Principals: everybody(), Resources: objects,
		Actions:    jsii.Strings("s3:PutObject"),
		Conditions: &map[string]any{"Null": map[string]any{"s3:if-match": "true", "s3:if-none-match": "true"}},
	}))
}

func everybody() *[]awsiam.IPrincipal { return &[]awsiam.IPrincipal{awsiam.NewStarPrincipal()} }
