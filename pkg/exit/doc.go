// Package exit attaches to errors what the edge of the program needs to know of them:
// an exit code, a hint how to cure the error, and the mark "try again".
//
// It prints nothing and ends nothing. The idea to hold: code that knows a cause attaches
// the code where it knows it, the innermost one wins, and only package cli reads it.
package exit
