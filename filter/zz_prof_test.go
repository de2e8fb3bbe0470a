package filter_test
import ("testing";"os";"runtime";"runtime/pprof";"narseal/filter";"narseal/nar")
func TestZProf(t *testing.T){
 runtime.MemProfileRate=2048
 f,_:=os.Open("/tmp/bundle-fuzz/full.nar"); n:=0
 c:=&filter.Config{Signatures: filter.SignatureOptions{Verify:true,Repair:filter.RepairNone},Observer: filter.Observer{Signature: func(s filter.Signature){
  n++
  if n==3 { runtime.GC(); p,_:=os.Create("/tmp/bundle-fuzz/heap.out"); pprof.Lookup("heap").WriteTo(p,0); p.Close() }
 }}}
 if _,err:=c.Run(nil,nar.NewReader(f)); err!=nil {t.Fatal(err)}
}
