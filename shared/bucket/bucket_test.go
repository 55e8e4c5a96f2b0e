package bucket_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket"
)

func TestCheckName(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]error{
		"a":                                    nil,
		".well-known/openid-configuration":     nil,
		"prod-eu1/openid/v1/jwks":              nil,
		"log/0000000001~a_b!.json":             nil,
		"...a":                                 nil,
		strings.Repeat("a", bucket.MaxSegment): nil,
		strings.Repeat("a/", bucket.MaxSegments-1) + "a":       nil,
		strings.Repeat(strings.Repeat("a", 127)+"/", 8) + "":   bucket.ErrName, // 1,024 bytes, but ends in a slash
		strings.Repeat(strings.Repeat("a", 127)+"/", 8) + "a":  bucket.ErrName, // 1,025 bytes
		strings.Repeat(strings.Repeat("a", 127)+"/", 7) + "ab": nil,
		strings.Repeat("a", bucket.MaxSegment+1):               bucket.ErrName,
		strings.Repeat("a/", bucket.MaxSegments) + "a":         bucket.ErrName,
		"":        bucket.ErrName,
		"/":       bucket.ErrName,
		"/a":      bucket.ErrName,
		"a/":      bucket.ErrName,
		"a//b":    bucket.ErrName,
		".":       bucket.ErrName,
		"..":      bucket.ErrName,
		"a/../b":  bucket.ErrName,
		"a./b":    bucket.ErrName,
		"a b":     bucket.ErrName,
		"a@b":     bucket.ErrName,
		"a\\b":    bucket.ErrName,
		"a\x00b":  bucket.ErrName,
		"a\nb":    bucket.ErrName,
		"a%2fb":   bucket.ErrName,
		"a?b":     bucket.ErrName,
		"é":       bucket.ErrName,
		"\xff":    bucket.ErrName,
		"https:a": bucket.ErrName,
	} {
		if err := bucket.CheckName(name); !errors.Is(err, want) {
			t.Errorf("CheckName(%q) = %v, want %v", name, err, want)
		}
	}
}

func TestCheckNameQuotesTheCharacter(t *testing.T) {
	t.Parallel()
	if err := bucket.CheckName("a/é"); err == nil || !strings.Contains(err.Error(), "'é'") {
		t.Errorf("CheckName says %q, want it to show 'é'", err)
	}
}

func TestCheckObject(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", bucket.MaxHeader)
	cases := map[string]struct {
		object bucket.Object
		want   error
	}{
		"empty body":          {bucket.Object{ContentType: "a/b"}, nil},
		"largest":             {bucket.Object{Body: make([]byte, bucket.MaxBody), ContentType: long, CacheControl: long}, nil},
		"parameters":          {bucket.Object{ContentType: `text/plain; charset="utf-8"`, CacheControl: "public, max-age=60"}, nil},
		"no content type":     {bucket.Object{}, bucket.ErrObject},
		"body too large":      {bucket.Object{Body: make([]byte, bucket.MaxBody+1), ContentType: "a/b"}, bucket.ErrObject},
		"content type long":   {bucket.Object{ContentType: long + "x"}, bucket.ErrObject},
		"cache control long":  {bucket.Object{ContentType: "a/b", CacheControl: long + "x"}, bucket.ErrObject},
		"second header":       {bucket.Object{ContentType: "a/b\r\nX: y"}, bucket.ErrObject},
		"control character":   {bucket.Object{ContentType: "a/b", CacheControl: "a\x00"}, bucket.ErrObject},
		"tab":                 {bucket.Object{ContentType: "a/b", CacheControl: "a\tb"}, bucket.ErrObject},
		"not ASCII":           {bucket.Object{ContentType: "a/é"}, bucket.ErrObject},
		"invalid UTF-8":       {bucket.Object{ContentType: "a/\xff"}, bucket.ErrObject},
		"leading space":       {bucket.Object{ContentType: " a/b"}, bucket.ErrObject},
		"trailing space":      {bucket.Object{ContentType: "a/b", CacheControl: "no-store "}, bucket.ErrObject},
		"cache control space": {bucket.Object{ContentType: "a/b", CacheControl: " "}, bucket.ErrObject},
	}
	for name, c := range cases {
		if err := bucket.CheckObject(c.object); !errors.Is(err, c.want) {
			t.Errorf("%s: CheckObject = %v, want %v", name, err, c.want)
		}
	}
}
