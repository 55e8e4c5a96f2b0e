package dir

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket"
)

const (
	contentType  = "Content-Type: "
	cacheControl = "Cache-Control: "
)

// maxFile is the largest file encode makes.
const maxFile = len(contentType) + len(cacheControl) + 2*bucket.MaxHeader + len("\n\n\n") + bucket.MaxBody

var errBroken = errors.New("not a file of a bucket")

// encode puts an object that CheckObject allows into the bytes of its file: a line for each header that is set, an empty
// line, and the body as it is. Headers and body are one file so that they change in one step.
func encode(object bucket.Object) []byte {
	var file bytes.Buffer
	file.WriteString(contentType + object.ContentType + "\n")
	if object.CacheControl != "" {
		file.WriteString(cacheControl + object.CacheControl + "\n")
	}
	file.WriteString("\n")
	file.Write(object.Body)
	return file.Bytes()
}

// parse is the inverse of encode. It accepts nothing that encode does not make, so that a file has one meaning.
func parse(file []byte) (bucket.Object, error) {
	head, body, ended := bytes.Cut(file, []byte("\n\n"))
	if !ended {
		return bucket.Object{}, fmt.Errorf("%w: no empty line ends its header", errBroken)
	}
	first, second, two := strings.Cut(string(head), "\n")
	media, ok := strings.CutPrefix(first, contentType)
	if !ok {
		return bucket.Object{}, fmt.Errorf("%w: its first line does not begin with %q", errBroken, contentType)
	}
	cache, ok := strings.CutPrefix(second, cacheControl)
	if two && (!ok || cache == "") {
		return bucket.Object{}, fmt.Errorf("%w: its second line is not a %q with a value", errBroken, cacheControl)
	}
	object := bucket.Object{Body: body, ContentType: media, CacheControl: cache}
	if err := bucket.CheckObject(object); err != nil {
		return bucket.Object{}, fmt.Errorf("%w: %w", errBroken, err)
	}
	return object, nil
}

// versionOf is made of all that a file holds, headers and body.
func versionOf(file []byte) bucket.Version {
	sum := sha256.Sum256(file)
	return bucket.Version(hex.EncodeToString(sum[:]))
}
