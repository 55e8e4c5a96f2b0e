package trust

// pieces are the selection, cluster by cluster.
func (s Selection) pieces() []Selection {
	var all []Selection
	for _, c := range s.Clusters {
		all = append(all, Selection{s.Accounts, s.Namespaces, []Cluster{c}})
	}
	return all
}

// byMember is the selection, account by account and namespace by namespace.
func (s Selection) byMember() []Selection {
	var all []Selection
	for _, a := range s.Accounts {
		all = append(all, Selection{Accounts: []ServiceAccount{a}, Clusters: s.Clusters})
	}
	for _, n := range s.Namespaces {
		all = append(all, Selection{Namespaces: []string{n}, Clusters: s.Clusters})
	}
	return all
}

// fill puts pieces together in their order as long as they fit. A piece that does not fit alone is broken, and fills parts of its own.
func fill(pieces []Selection, fits func(Selection) bool, broken func(Selection) ([]Selection, error)) ([]Selection, error) {
	var parts []Selection
	open := false // the last part may take more
	for _, piece := range pieces {
		if open {
			if more := parts[len(parts)-1].with(piece); fits(more) {
				parts[len(parts)-1] = more
				continue
			}
		}
		if open = fits(piece); open {
			parts = append(parts, piece)
			continue
		}
		smaller, err := broken(piece)
		if err != nil {
			return nil, err
		}
		own, err := fill(smaller, fits, broken)
		if err != nil {
			return nil, err
		}
		parts = append(parts, own...)
	}
	return parts, nil
}

// with adds a piece that differs in clusters, or in members.
func (s Selection) with(piece Selection) Selection {
	if s.Clusters[0] != piece.Clusters[0] {
		s.Clusters = append(s.Clusters[:len(s.Clusters):len(s.Clusters)], piece.Clusters...)
		return s
	}
	s.Accounts = append(s.Accounts[:len(s.Accounts):len(s.Accounts)], piece.Accounts...)
	s.Namespaces = append(s.Namespaces[:len(s.Namespaces):len(s.Namespaces)], piece.Namespaces...)
	return s
}
