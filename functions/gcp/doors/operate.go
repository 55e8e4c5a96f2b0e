package doors

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/kube-iam-assume/kube-iam-assume/shared/function"
	"github.com/kube-iam-assume/kube-iam-assume/shared/publish"
	"github.com/kube-iam-assume/kube-iam-assume/shared/rotation"
)

const maxOrder = 256 << 10 // bytes

// operate carries out an operator's statement, or plans it. Cloud Run has authenticated him.
func (s *service) operate(w http.ResponseWriter, r *http.Request, body []byte) {
	if !onlyPost(w, r) {
		return
	}
	if len(body) > maxOrder {
		err := fmt.Errorf("%w: it has over %d bytes", function.ErrOrder, maxOrder)
		s.fail(w, r, problem(http.StatusRequestEntityTooLarge, publish.CodeTooLarge, instanceOf(r)), err)
		return
	}
	outcome, err := function.Operate(r.Context(), s.publisher, body)
	switch {
	case err == nil:
		write(w, http.StatusOK, "application/json", outcome)
	case errors.Is(err, function.ErrOrder), errors.Is(err, rotation.ErrStatement):
		s.fail(w, r, problem(http.StatusBadRequest, "statement", instanceOf(r)), err)
	default:
		s.fail(w, r, publish.NewProblem(err, instanceOf(r)), err)
	}
}
