// SPDX-License-Identifier: Apache-2.0
// Files, a map, goroutines and two children. The collector is off (GOGC), and one processor runs the goroutines. The runtime makes a
// thread when a call takes long and no thread is idle: enough are made at first, so that time decides about none later.
package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"sort"
	"sync"
)

func makeThreads(number int) {
	var meet, end sync.WaitGroup
	meet.Add(number)
	end.Add(number)
	for i := 0; i < number; i++ {
		go func() {
			runtime.LockOSThread()
			meet.Done()
			meet.Wait()
			runtime.UnlockOSThread()
			end.Done()
		}()
	}
	end.Wait()
}

func main() {
	makeThreads(8)
	if len(os.Args) > 1 {
		os.Exit(4)
	}
	for i := 0; i < 20; i++ {
		name := fmt.Sprintf("go-%d.txt", i)
		if err := os.WriteFile(name, bytes.Repeat([]byte{byte(i)}, 1000), 0o600); err != nil {
			os.Exit(1)
		}
		if data, err := os.ReadFile(name); err != nil || len(data) != 1000 {
			os.Exit(1)
		}
	}
	words := map[string]int{}
	for i := 0; i < 1000; i++ {
		words[fmt.Sprint(i%37)]++
	}
	names := []string{}
	for word := range words {
		names = append(names, word)
	}
	sort.Strings(names)
	sum := make(chan int)
	for i := 0; i < 10; i++ {
		go func(i int) { sum <- i * os.Getppid() / os.Getppid() }(i)
	}
	total := 0
	for i := 0; i < 10; i++ {
		total += <-sum
	}
	again := exec.Command(os.Args[0], "again")
	if again.Run() == nil || again.ProcessState.ExitCode() != 4 {
		os.Exit(2)
	}
	said, _ := os.Create("said")
	echo := exec.Command("/bin/echo", "from", "echo")
	echo.Stdout = said
	if echo.Run() != nil {
		os.Exit(3)
	}
	fmt.Println(total, len(names))
}
