package stack

import (
	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awscloudfront"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsroute53"
	"github.com/aws/jsii-runtime-go"

	"github.com/kube-iam-assume/kube-iam-assume/cdk/stackfile"
)

// What CloudFront calls its own policies and zone.
const (
	cachingOptimized          = "658327ea-f89d-4fab-a63d-7e88639e58f6" // keeps to the documents' Cache-Control
	cachingDisabled           = "4135ea2d-6df8-44a3-9df3-4b5a84be39ad"
	allViewerExceptHostHeader = "b689b0a8-53d0-40ab-baf2-68738e2966ac"
	zoneOfDistributions       = "Z2FDTNDATAQYW2"
)

// distribute puts the documents behind the domain. Written out, because CDK's own construct lets the distribution read the whole bucket.
func (b *builder) distribute() {
	h := b.file.Hosting
	access := awscloudfront.NewCfnOriginAccessControl(b.scope, new("OriginAccess"), &awscloudfront.CfnOriginAccessControlProps{
		OriginAccessControlConfig: &awscloudfront.CfnOriginAccessControl_OriginAccessControlConfigProperty{
			Name: new(originAccessName(b.file)), OriginAccessControlOriginType: new("s3"),
			SigningBehavior: new("always"), SigningProtocol: new("sigv4"),
		},
	})
	origins := []any{&awscloudfront.CfnDistribution_OriginProperty{
		Id: new("documents"), DomainName: b.documents.BucketRegionalDomainName(), OriginAccessControlId: access.AttrId(),
		S3OriginConfig: &awscloudfront.CfnDistribution_S3OriginConfigProperty{OriginAccessIdentity: new("")},
	}}
	behaviors := []any{}
	if b.webhookHost != nil {
		origins = append(origins, &awscloudfront.CfnDistribution_OriginProperty{
			Id: new("webhook"), DomainName: b.webhookHost,
			CustomOriginConfig: &awscloudfront.CfnDistribution_CustomOriginConfigProperty{
				OriginProtocolPolicy: new("https-only"), OriginSslProtocols: jsii.Strings("TLSv1.2"),
			},
		})
		for _, path := range []string{webhookPath, "/healthz"} {
			behaviors = append(behaviors, &awscloudfront.CfnDistribution_CacheBehaviorProperty{
				PathPattern: new(path), TargetOriginId: new("webhook"), ViewerProtocolPolicy: new("https-only"),
				AllowedMethods: jsii.Strings("GET", "HEAD", "OPTIONS", "PUT", "PATCH", "POST", "DELETE"), // CloudFront has no smaller set with POST
				CachePolicyId:  new(cachingDisabled), OriginRequestPolicyId: new(allViewerExceptHostHeader),
			})
		}
		b.webhookHost = new(h.Domain)
	}
	distribution := awscloudfront.NewCfnDistribution(b.scope, new("Distribution"), &awscloudfront.CfnDistributionProps{
		DistributionConfig: &awscloudfront.CfnDistribution_DistributionConfigProperty{
			Enabled: new(true), Comment: new("OIDC documents of " + b.file.Name), Aliases: jsii.Strings(h.Domain), HttpVersion: new("http2and3"),
			PriceClass: new("PriceClass_100"), Ipv6Enabled: new(true), Origins: origins, CacheBehaviors: behaviors,
			DefaultCacheBehavior: &awscloudfront.CfnDistribution_DefaultCacheBehaviorProperty{
				TargetOriginId: new("documents"), ViewerProtocolPolicy: new("https-only"), CachePolicyId: new(cachingOptimized), Compress: new(true),
			},
			CustomErrorResponses: []any{errorsFor(403), errorsFor(404)},
			ViewerCertificate: &awscloudfront.CfnDistribution_ViewerCertificateProperty{ // 1.2 is allowed: AWS checks certificates over it
				AcmCertificateArn: new(h.CertificateARN), SslSupportMethod: new("sni-only"), MinimumProtocolVersion: new("TLSv1.2_2021"),
			},
		},
	})
	b.documents.AddToResourcePolicy(awsiam.NewPolicyStatement(&awsiam.PolicyStatementProps{
		Sid: new("TheDistributionReadsTheDocuments"), Actions: jsii.Strings("s3:GetObject"), Resources: b.documentARNs(),
		Principals: &[]awsiam.IPrincipal{awsiam.NewServicePrincipal(new("cloudfront.amazonaws.com"), nil)},
		Conditions: &map[string]any{"StringEquals": map[string]any{"AWS:SourceArn": awscdk.Fn_Join(new(""), &[]*string{
			new("arn:aws:cloudfront::" + b.file.Account + ":distribution/"), distribution.AttrId(),
		})}},
	}))
	b.readable = append(b.readable, distribution)
	for _, kind := range []string{"A", "AAAA"} {
		b.readable = append(b.readable, awsroute53.NewCfnRecordSet(b.scope, new("Record"+kind), &awsroute53.CfnRecordSetProps{
			Name: new(h.Domain + "."), Type: new(kind), HostedZoneId: new(h.HostedZoneID),
			AliasTarget: &awsroute53.CfnRecordSet_AliasTargetProperty{DnsName: distribution.AttrDomainName(), HostedZoneId: new(zoneOfDistributions)},
		}))
	}
}

// originAccessName is unique in the account, which has one name space for all regions, and has at most 64 characters.
func originAccessName(file stackfile.Stack) string {
	rest := "-" + file.Region + "-documents"
	return file.Name[:min(len(file.Name), 64-len(rest))] + rest
}

// errorsFor keeps CloudFront from remembering for long that a document was missing.
func errorsFor(status float64) *awscloudfront.CfnDistribution_CustomErrorResponseProperty {
	return &awscloudfront.CfnDistribution_CustomErrorResponseProperty{ErrorCode: new(status), ErrorCachingMinTtl: new(1.0)}
}
