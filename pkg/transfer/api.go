package transfer

import (
	"context"
	"io"
)

type Server struct{}

func Listen(o Options) (*Server, error)                                { return nil, errUnbuilt }
func (s *Server) Ticket() Ticket                                       { return Ticket{} }
func (s *Server) Give(dir string)                                      {}
func (s *Server) Take(dir string, l Limits) <-chan error               { return nil }
func (s *Server) Close() error                                         { return nil }
func Fetch(ctx context.Context, t Ticket, dir string, l Limits) error  { return errUnbuilt }
func Return(ctx context.Context, t Ticket, dir string, l Limits) error { return errUnbuilt }
func Pack(w io.Writer, dir string) (sum string, err error)             { return "", errUnbuilt }
func Unpack(r io.Reader, dir string, l Limits) error                   { return errUnbuilt }
