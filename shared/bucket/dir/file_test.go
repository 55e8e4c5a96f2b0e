package dir

import (
	"bytes"
	"errors"
	"testing"

	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket"
)

func TestParse(t *testing.T) {
	t.Parallel()
	for file, want := range map[string]*bucket.Object{
		"Content-Type: a/b\n\n":                                  {ContentType: "a/b"},
		"Content-Type: a/b\n\n\n\nbody\n":                        {ContentType: "a/b", Body: []byte("\n\nbody\n")},
		"Content-Type: a/b\nCache-Control: no-store\n\n\x00\xff": {ContentType: "a/b", CacheControl: "no-store", Body: []byte("\x00\xff")},

		"":                                       nil,
		"\x00\x00\x00\x00":                       nil, // what a file system that lost the data shows
		"{}":                                     nil,
		"\n\n{}":                                 nil,
		"Content-Type: a/b":                      nil,
		"Content-Type: a/b\n":                    nil,
		"Content-Type: \n\n{}":                   nil,
		"Content-Type:a/b\n\n{}":                 nil,
		"content-type: a/b\n\n{}":                nil,
		"Content-Type:  a/b\n\n{}":               nil,
		"Content-Type: a/b \n\n{}":               nil,
		"Content-Type: a/b\r\n\r\n{}":            nil,
		"Content-Type: a/b\r\n\n{}":              nil,
		"Cache-Control: x\n\n{}":                 nil,
		"Cache-Control: x\nContent-Type: a\n\n":  nil,
		"Content-Type: a/b\nCache-Control: \n\n": nil,
		"Content-Type: a/b\nX: y\n\n":            nil,
		"Content-Type: a/b\nCache-Control: x\nCache-Control: x\n\n": nil,
	} {
		object, err := parse([]byte(file))
		switch {
		case want == nil:
			if !errors.Is(err, errBroken) {
				t.Errorf("parse(%q) = %v, %v, want errBroken", file, object, err)
			}
		case err != nil || !equal(object, *want):
			t.Errorf("parse(%q) = %v, %v, want %v", file, object, err, *want)
		}
	}
}

func TestMaxFileIsTheLargest(t *testing.T) {
	t.Parallel()
	if size := len(largestFile()); size != maxFile {
		t.Errorf("the largest file has %d bytes, maxFile is %d", size, maxFile)
	}
}

func largestFile() []byte {
	header := string(bytes.Repeat([]byte("x"), bucket.MaxHeader))
	return encode(bucket.Object{Body: make([]byte, bucket.MaxBody), ContentType: header, CacheControl: header})
}

// FuzzEncode: what was put comes back.
func FuzzEncode(f *testing.F) {
	f.Add("application/json", "public, max-age=60", []byte("{}"))
	f.Add("text/plain", "", []byte("\n\n"))
	f.Add("a\nCache-Control: b", "", []byte(nil))
	f.Fuzz(func(t *testing.T, media, cache string, body []byte) {
		object := bucket.Object{Body: body, ContentType: media, CacheControl: cache}
		if bucket.CheckObject(object) != nil {
			return // Put refuses it
		}
		got, err := parse(encode(object))
		if err != nil || !equal(got, object) {
			t.Errorf("parse(encode(%v)) = %v, %v", object, got, err)
		}
	})
}

// FuzzParse: no file makes it panic, and one that is read has no second spelling.
func FuzzParse(f *testing.F) {
	f.Add([]byte("Content-Type: a/b\nCache-Control: no-store\n\nbody"))
	f.Add([]byte("Content-Type: a/b\n\n"))
	f.Add([]byte("\n\n"))
	f.Fuzz(func(t *testing.T, file []byte) {
		object, err := parse(file)
		if err != nil {
			if !errors.Is(err, errBroken) {
				t.Errorf("parse(%q): %v, want errBroken", file, err)
			}
			return
		}
		if again := encode(object); !bytes.Equal(again, file) {
			t.Errorf("encode(parse(%q)) = %q", file, again)
		}
	})
}

func equal(a, b bucket.Object) bool {
	return bytes.Equal(a.Body, b.Body) && a.ContentType == b.ContentType && a.CacheControl == b.CacheControl
}
