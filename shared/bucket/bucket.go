// Package bucket is the whole demand this project makes on a cloud's object storage: read an object with its version, and
// write one only if it is still the version that was read.
//
// There is no unconditional write, no delete and no listing, so a publisher that lost a race always learns of it and nothing
// a publisher does can destroy an object it has not seen. Every driver passes the suite in bucket/buckettest, which is the
// contract in executable form.
package bucket

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
)

var (
	// ErrNotFound means that the bucket answered and holds no object of that name. Nothing else is ErrNotFound: an
	// access that was denied, a bucket that does not exist or a connection that broke is an error of another kind, because a
	// publisher treats "no state" as the beginning of the world.
	ErrNotFound = errors.New("no such object")

	// ErrConflict means that the object is not the version the writer had seen: it was not written. Read again and decide
	// again.
	ErrConflict = errors.New("object changed since it was read")

	// ErrName means that a name is not one CheckName allows. Nothing was written.
	ErrName = errors.New("not an object name")

	// ErrObject means that an object is not one CheckObject allows. Nothing was written.
	ErrObject = errors.New("not an object every store can hold")
)

// Version identifies the content of an object as it was read. It is opaque: stores that number their writes and stores that
// hash the content (Amazon S3's ETag) both fit, so equal content may have equal versions.
type Version string

// Absent is the version of an object that does not exist.
const Absent Version = ""

// Object is a body and the two headers it is served with. CheckObject says what is allowed in it.
type Object struct {
	Body         []byte
	ContentType  string // media type, for example "application/json", never empty
	CacheControl string // a Cache-Control value (RFC 9111), empty for none
}

// Bucket holds objects by name. Implementations are safe for concurrent use by any number of goroutines, processes and
// machines.
type Bucket interface {
	// Get returns an object and the version to pass to Put. It sees every Put that returned before it began. The error is
	// ErrNotFound only if the object does not exist.
	Get(ctx context.Context, name string) (Object, Version, error)

	// Put writes an object if it is still at the version seen; Absent creates it. When Put returns nil the object is
	// durable and every later Get sees it. ErrConflict says that nothing was written. Any other error leaves open whether
	// the object was written: read it again. Readers never see part of an object.
	Put(ctx context.Context, name string, object Object, seen Version) (Version, error)
}

// Limits of a portable name, each the lowest of the supported stores.
const (
	MaxName     = 1024 // bytes in all: S3, Cloud Storage and Azure Blob
	MaxSegment  = 200  // bytes between slashes: NAME_MAX of file systems is 255, less what a driver appends
	MaxSegments = 60   // Azure Blob allows 63 with a hierarchical namespace, account and container included
)

// Limits of an object, so that every reader can bound its memory.
const (
	MaxBody   = 8 << 20 // bytes
	MaxHeader = 256     // bytes in ContentType, and as many in CacheControl
)

// CheckName reports whether a name is portable between drivers: segments of ASCII letters, digits and "-_.~!" divided by
// single slashes, none of them ending in a dot (Azure Blob drops it; "." and ".." are folders), within the limits above. The
// error is ErrName.
func CheckName(name string) error {
	if name == "" || len(name) > MaxName {
		return fmt.Errorf("%w: %.80q has %d bytes, want 1 to %d", ErrName, name, len(name), MaxName)
	}
	if n := strings.Count(name, "/") + 1; n > MaxSegments {
		return fmt.Errorf("%w: %.80q has %d segments, want at most %d", ErrName, name, n, MaxSegments)
	}
	for segment := range strings.SplitSeq(name, "/") {
		if err := checkSegment(segment); err != nil {
			return fmt.Errorf("%w: %.80q has %w", ErrName, name, err)
		}
	}
	return nil
}

func checkSegment(segment string) error {
	if segment == "" {
		return errors.New("an empty segment: one slash between segments, none at the ends")
	}
	if len(segment) > MaxSegment {
		return fmt.Errorf("a segment of %d bytes, want at most %d", len(segment), MaxSegment)
	}
	if strings.HasSuffix(segment, ".") {
		return fmt.Errorf("the segment %q, which ends in a dot", segment)
	}
	for _, char := range segment {
		if !portable(char) {
			return fmt.Errorf("the character %q, want letters, digits and one of -_.~! only", char)
		}
	}
	return nil
}

func portable(char rune) bool {
	switch {
	case 'a' <= char && char <= 'z', 'A' <= char && char <= 'Z', '0' <= char && char <= '9':
		return true
	}
	return strings.ContainsRune("-_.~!", char)
}

// CheckObject reports whether an object comes back from every store as it was put: a body of at most MaxBody bytes, headers
// of printable ASCII that neither begin nor end with a space, and a content type (stores invent one where it is missing).
// The error is ErrObject.
func CheckObject(object Object) error {
	if len(object.Body) > MaxBody {
		return fmt.Errorf("%w: the body has %d bytes, want at most %d", ErrObject, len(object.Body), MaxBody)
	}
	if object.ContentType == "" {
		return fmt.Errorf("%w: it has no content type", ErrObject)
	}
	if err := checkHeader(object.ContentType); err != nil {
		return fmt.Errorf("%w: content type %.80q %w", ErrObject, object.ContentType, err)
	}
	if err := checkHeader(object.CacheControl); err != nil {
		return fmt.Errorf("%w: cache control %.80q %w", ErrObject, object.CacheControl, err)
	}
	return nil
}

func checkHeader(value string) error {
	if len(value) > MaxHeader {
		return fmt.Errorf("has %d bytes, want at most %d", len(value), MaxHeader)
	}
	if strings.Trim(value, " ") != value {
		return errors.New("begins or ends with a space")
	}
	if strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r > '~' }) {
		return errors.New("has a character that is not printable ASCII")
	}
	return nil
}

// ReadBody reads an object's body as a store sends it, and at most MaxBody bytes of it.
func ReadBody(from io.Reader) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(from, MaxBody+1))
	if err != nil {
		return nil, fmt.Errorf("the body: %w", err)
	}
	if len(body) > MaxBody {
		return nil, fmt.Errorf("the body has over %d bytes, so it is none of this project's: move it away", MaxBody)
	}
	return body, nil
}
