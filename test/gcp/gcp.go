// Package gcp runs a stand-in for Google Cloud Storage for tests: fake-gcs-server, an independent server of its JSON API, built from
// source the first time, which takes about two minutes of CPU (`make gcp` shows the progress).
//
// # What differs from Google's
//
//   - Nobody has to log in, and everybody may do everything: what is denied, and to whom, must be tested elsewhere.
//   - Writes are conditional on an object's generation, as they are at Google. Conditions on the metageneration are ignored, and so
//     are those of a deletion: rely on neither.
//   - There is no limit of one write per second, and no cache in front of public objects. A 404 has no message.
//   - A public object is at ENDPOINT/BUCKET/OBJECT, as at https://storage.googleapis.com/BUCKET/OBJECT.
package gcp
