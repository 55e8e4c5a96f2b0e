package stackfile

import (
	"net/url"
	"slices"
	"strings"
)

// withoutAccountRegional are the regions that have no account-regional bucket names.
var withoutAccountRegional = []string{"me-south-1", "me-central-1"}

// hosting decides the issuers' URL, which must be known before anything exists: trust policies name it.
func (r reader) hosting(s Stack) (Hosting, error) {
	f, chosen := r.Hosting, 0
	for _, given := range []bool{f.Bucket != nil, f.CloudFront != nil, f.Existing != ""} {
		if given {
			chosen++
		}
	}
	if chosen != 1 {
		return Hosting{}, r.Errorf([]any{"hosting"}, "want exactly one of bucket, cloudFront and existing, got %d", chosen)
	}
	switch {
	case f.Bucket != nil:
		return r.bucket(s, *f.Bucket)
	case f.CloudFront != nil:
		return r.cloudFront(s, *f.CloudFront)
	}
	return r.existing(f.Existing)
}

func (r reader) bucket(s Stack, f bucketFile) (Hosting, error) {
	at := []any{"hosting", "bucket"}
	h := Hosting{BucketPrefix: f.Prefix, BucketName: f.Name}
	name := f.Name
	switch {
	case f.Prefix != "" && f.Name != "" || f.Prefix == "" && f.Name == "":
		return h, r.Errorf(at, "want a prefix, or a name where the region has no account-regional names")
	case f.Prefix != "" && slices.Contains(withoutAccountRegional, s.Region):
		return h, r.Errorf(at, "region %s has no account-regional bucket names: give the bucket a name, and never delete it while an identity provider trusts it", s.Region)
	case f.Name != "" && !slices.Contains(withoutAccountRegional, s.Region):
		return h, r.Errorf(at, "write prefix instead of name: in region %s the bucket's name can belong to your account, so that nobody else can ever take it over", s.Region)
	case f.Prefix != "":
		name = accountRegional(f.Prefix, s)
	}
	if !label.MatchString(name) {
		return h, r.Errorf(at, "the bucket would be named %q (%d characters): want lower-case letters, digits and inner hyphens, at most 63 and no dots, or the certificate does not fit", name, len(name))
	}
	h.URL = "https://" + name + ".s3." + s.Region + "." + URLSuffix(s.Region)
	return h, nil
}

// accountRegional is the name of a bucket in the account's own namespace.
func accountRegional(prefix string, s Stack) string {
	return prefix + "-" + s.Account + "-" + s.Region + "-an"
}

// URLSuffix is the domain of a region's services.
func URLSuffix(region string) string {
	if strings.HasPrefix(region, "cn-") {
		return "amazonaws.com.cn"
	}
	return "amazonaws.com"
}

func (r reader) cloudFront(s Stack, f cloudFrontFile) (Hosting, error) {
	at := func(field string) []any { return []any{"hosting", "cloudFront", field} }
	h := Hosting{URL: "https://" + f.Domain, Domain: f.Domain, CertificateARN: f.CertificateARN, HostedZoneID: f.HostedZoneID}
	switch {
	case partition(s.Region) != "aws":
		return h, r.Errorf([]any{"hosting", "cloudFront"}, "region %s has no CloudFront beside it: use bucket", s.Region)
	case !domain.MatchString(f.Domain):
		return h, r.Errorf(at("domain"), "domain %q: want a host name such as oidc.example.com, in lower case", f.Domain)
	case !certificateARN.MatchString(f.CertificateARN):
		return h, r.Errorf(at("certificateARN"), "certificate %q: want the ARN of an ACM certificate in us-east-1, where CloudFront looks for it", f.CertificateARN)
	case !hostedZoneID.MatchString(f.HostedZoneID):
		return h, r.Errorf(at("hostedZoneID"), "hosted zone %q: want the ID of the public Route 53 zone of the domain, such as Z0123456789ABCDEFGHIJ", f.HostedZoneID)
	}
	return h, nil
}

func (r reader) existing(base string) (Hosting, error) {
	if line := r.publisherOnly(); line != nil {
		return Hosting{}, r.Errorf(line, "%v has no effect where hosting is existing, which makes identity providers and roles only: take it out", line[0])
	}
	if !isBase(base) {
		return Hosting{}, r.Errorf([]any{"hosting", "existing"}, "issuer host %q: want https://HOST or https://HOST/PATH in lower case, without a port and a trailing slash; the clusters' IDs are added to it", base)
	}
	return Hosting{URL: base, Existing: true}, nil
}

// isBase reports whether clusters' IDs can be added to a URL.
func isBase(base string) bool {
	u, err := url.Parse(base)
	return err == nil && u.Scheme == "https" && domain.MatchString(u.Host) && base == strings.ToLower(base) && u.User == nil && u.RawQuery == "" && u.Fragment == "" && !strings.HasSuffix(base, "/")
}

// mirrors are where the documents of other publishers are, each once and none of them this one's.
func (r reader) mirrors(own string) ([]string, error) {
	for i, mirror := range r.Mirrors {
		switch {
		case !isBase(mirror):
			return nil, r.Errorf([]any{"mirrors", i}, "mirror %q: want https://HOST or https://HOST/PATH in lower case, without a port and a trailing slash; the clusters' IDs are added to it", mirror)
		case mirror == own, slices.Contains(r.Mirrors[:i], mirror):
			return nil, r.Errorf([]any{"mirrors", i}, "mirror %q is listed already, or is this stack's own host: list each of the other publishers once", mirror)
		}
	}
	return r.Mirrors, nil
}

// publisherOnly is the first field that is given though there is no publisher to follow it; nil if there is none.
func (r reader) publisherOnly() []any {
	for _, field := range []struct {
		name  string
		given bool
	}{
		{"retention", r.Retention != nil},
		{"mirrors", r.Mirrors != nil},
		{"webhook", r.Webhook != ""},
		{"queue", r.Queue != nil},
		{"alarms", r.Alarms != alarmsFile{}},
		{"logs", r.Logs.RetentionDays != 0},
		{"dashboard", r.Dashboard},
		{"reservedConcurrency", r.ReservedConcurrency != 0},
	} {
		if field.given {
			return []any{field.name}
		}
	}
	return nil
}
