%% What userland/programs/bench does, on BEAM: the same processes, the same messages.
%%
%% Runs in a guest whose console is its terminal, or on the host with pipes in its place. A line `NAME COUNT` is answered by one of JSON,
%% with the nanoseconds of it all, the setting up left out where `bench` leaves it out. `native NAME
%% COUNT` runs the Linux program beside it, which computes what `bench` does in WebAssembly.
-module(craton_bench).
-export([main/0]).

main() ->
    Console = open_port({fd, 0, 1}, [in, {line, 256}]),
    io:format("READY~n"),
    serve(Console).

serve(Console) ->
    receive
        {Console, {data, {eol, Line}}} ->
            case string:lexemes(Line, " \r") of
                ["native", Name, Count] -> native(Name, Count);
                [Name, Count] -> measure(list_to_atom(Name), list_to_integer(Count));
                _ -> ok
            end,
            serve(Console)
    end.

measure(Name, Count) ->
    erlang:garbage_collect(),
    try bench(Name, Count) of
        {Done, Nanos} ->
            io:format("{\"name\":\"~s\",\"count\":~b,\"nanos\":~b}~n", [Name, Done, Nanos])
    catch
        _:Why -> failed(Name, Why)
    end.

%% Whatever becomes of it, one line is said.
native(Name, Count) ->
    try open_port({spawn_executable, "/native"},
                  [{args, [Name, Count]}, {line, 256}, exit_status]) of
        Port -> native_answer(Name, Port, none)
    catch
        _:Why -> failed(Name, Why)
    end.

native_answer(Name, Port, Line) ->
    receive
        {Port, {data, {eol, Next}}} -> native_answer(Name, Port, Next);
        {Port, {exit_status, 0}} when Line =/= none -> io:format("~s~n", [Line]);
        {Port, {exit_status, Status}} -> failed(Name, {exit_status, Status})
    end.

failed(Name, Why) -> io:format("{\"name\":\"~s\",\"error\":\"~0p\"}~n", [Name, Why]).

now_ns() -> erlang:monotonic_time(nanosecond).

timed(Count, Fun) ->
    Before = now_ns(),
    Fun(),
    {Count, now_ns() - Before}.

%% One after another, each watched until it ends.
bench(spawn, Count) -> timed(Count, fun() -> spawns(Count) end);
%% All alive at once.
bench(idle, Count) ->
    Before = now_ns(),
    Idle = [spawn(fun() -> receive never -> ok end end) || _ <- lists:seq(1, Count)],
    Monitor = monitor(process, lists:last(Idle)),
    demonitor(Monitor),
    Figure = {Count, now_ns() - Before},
    [exit(Process, kill) || Process <- Idle],
    Figure;
bench(pingpong, Count) ->
    Other = spawn(fun bounce/0),
    Figure = timed(Count, fun() -> rounds(Other, 0, Count) end),
    exit(Other, kill),
    Figure;
bench(counting, Count) ->
    Counter = spawn(fun() -> counter(0) end),
    timed(Count, fun() ->
        tell(Counter, Count),
        Counter ! {done, self()},
        receive {sum, Count} -> ok end
    end);
bench(threadring, Count) ->
    Me = self(),
    Last = spawn(fun() -> receive {next, Next} -> ring(Me, Next, 0) end end),
    Ring = lists:foldl(
        fun(Number, [Next | _] = Members) ->
            [spawn(fun() -> ring(Me, Next, Number) end) | Members]
        end, [Last], lists:seq(1, 99)),
    First = hd(Ring),
    Last ! {next, First},
    Due = 99 - Count rem 100,
    Figure = timed(Count, fun() -> First ! Count, receive {stopped, Due} -> ok end end),
    [exit(Member, kill) || Member <- Ring],
    Figure;
bench(big, Count) ->
    Me = self(),
    Each = (Count + 31) div 32,
    Members = [spawn(fun() -> receive {all, All, At} -> big(Me, All, At, Each) end end)
        || _ <- lists:seq(1, 32)],
    All = list_to_tuple(Members),
    Figure = timed(Each * 32, fun() ->
        [Member ! {all, All, At} || {At, Member} <- lists:zip(lists:seq(1, 32), Members)],
        await(done, 32)
    end),
    [exit(Member, kill) || Member <- Members],
    Figure;
bench(chameneos, Count) ->
    Me = self(),
    timed(Count, fun() ->
        Mall = spawn(fun() -> mall(Me, Count, none, 100, 0) end),
        [spawn(fun() -> chameneo(Mall, Creature rem 3, 0) end) || Creature <- lists:seq(0, 99)],
        Met = 2 * Count,
        receive {met, Met} -> ok end
    end);
bench(fjthroughput, Count) ->
    Me = self(),
    Each = (Count + 59) div 60,
    timed(Each * 60, fun() ->
        Workers = [spawn(fun() -> worker(Me, Each, 37.2) end) || _ <- lists:seq(1, 60)],
        give(Workers, 0, Each),
        await(done, 60)
    end);
%% As many queued as `bench` has, 100,000; of them so many are taken, the last first.
bench(tagged, Count) ->
    Me = self(),
    spawn(fun() ->
        [self() ! {Tag, Tag} || Tag <- lists:seq(1, 100000)],
        Me ! {figure, timed(Count, fun() -> take(100000, Count) end)}
    end),
    receive {figure, Figure} -> Figure end;
bench(skynet, Leaves) ->
    Me = self(),
    Sum = Leaves * (Leaves - 1) div 2,
    timed(Leaves, fun() ->
        spawn(fun() -> skynet(Me, 0, Leaves) end),
        receive Sum -> ok end
    end);
bench(down, Count) ->
    Me = self(),
    Watched = spawn(fun() -> receive never -> ok end end),
    Shares = shares(Count),
    [spawn(fun() -> watcher(Me, Watched, Share) end) || Share <- Shares],
    await(watching, length(Shares)),
    timed(Count, fun() -> exit(Watched, kill), await(heard, length(Shares)) end);
bench(fib, Count) -> timed(Count, fun() -> fibs(Count) end).

spawns(0) -> ok;
spawns(Count) ->
    {_, Monitor} = spawn_monitor(fun() -> ok end),
    receive {'DOWN', Monitor, process, _, normal} -> spawns(Count - 1) end.

bounce() -> receive {From, Ball} -> From ! {self(), Ball}, bounce() end.

rounds(_, Count, Count) -> ok;
rounds(Other, Round, Count) ->
    Other ! {self(), Round},
    receive {Other, Round} -> rounds(Other, Round + 1, Count) end.

counter(Sum) ->
    receive
        {done, From} -> From ! {sum, Sum};
        Number -> counter(Sum + Number)
    end.

tell(_, 0) -> ok;
tell(Counter, Count) -> Counter ! 1, tell(Counter, Count - 1).

ring(Parent, Next, Number) ->
    receive
        0 -> Parent ! {stopped, Number}, ring(Parent, Next, Number);
        Hops -> Next ! Hops - 1, ring(Parent, Next, Number)
    end.

big(Parent, All, At, Left) -> ping(Parent, All, At, At, Left).

ping(Parent, _, _, _, 0) -> Parent ! done, pongs();
ping(Parent, All, Me, At, Left) ->
    Next = case At rem 32 + 1 of Me -> Me rem 32 + 1; Other -> Other end,
    element(Next, All) ! {ping, self()},
    answered(),
    ping(Parent, All, Me, Next, Left - 1).

answered() -> receive pong -> ok; {ping, From} -> From ! pong, answered() end.
pongs() -> receive {ping, From} -> From ! pong, pongs() end.

mall(Parent, _, _, 0, Met) -> Parent ! {met, Met};
mall(Parent, Left, Waiting, Out, Met) ->
    receive
        {done, Number} -> mall(Parent, Left, Waiting, Out - 1, Met + Number);
        {From, _} when Left =:= 0 -> From ! home, mall(Parent, 0, none, Out, Met);
        {From, Colour} when Waiting =:= none -> mall(Parent, Left, {From, Colour}, Out, Met);
        {From, Colour} ->
            {Other, OtherColour} = Waiting,
            From ! {meet, OtherColour},
            Other ! {meet, Colour},
            mall(Parent, Left - 1, none, Out, Met)
    end.

chameneo(Mall, Colour, Met) ->
    Mall ! {self(), Colour},
    receive
        {meet, Colour} -> chameneo(Mall, Colour, Met + 1);
        {meet, Other} -> chameneo(Mall, 3 - Colour - Other, Met + 1);
        home -> Mall ! {done, Met}
    end.

worker(Parent, 0, _) -> Parent ! done;
worker(Parent, Left, Angle) ->
    receive Number -> worker(Parent, Left - 1, math:fmod(Angle * Angle, 1.0 + Number)) end.

give(_, Each, Each) -> ok;
give(Workers, Number, Each) ->
    [Worker ! Number || Worker <- Workers],
    give(Workers, Number + 1, Each).

take(_, 0) -> ok;
take(Tag, Left) -> receive {Tag, Tag} -> take(Tag - 1, Left - 1) end.

skynet(Parent, Number, 1) -> Parent ! Number;
skynet(Parent, First, Leaves) ->
    Me = self(),
    Each = Leaves div 10,
    [spawn(fun() -> skynet(Me, First + Child * Each, Each) end) || Child <- lists:seq(0, 9)],
    Parent ! add(10, 0).

add(0, Sum) -> Sum;
add(Left, Sum) -> receive Number -> add(Left - 1, Sum + Number) end.

%% As many to each process as one of Craton's may have.
shares(0) -> [];
shares(Count) -> Share = min(Count, 4088), [Share | shares(Count - Share)].

watcher(Parent, Watched, Share) ->
    [monitor(process, Watched) || _ <- lists:seq(1, Share)],
    Parent ! watching,
    hear(Share),
    Parent ! heard.

hear(0) -> ok;
hear(Left) -> receive {'DOWN', _, process, _, killed} -> hear(Left - 1) end.

await(_, 0) -> ok;
await(What, Left) -> receive What -> await(What, Left - 1) end.

fibs(0) -> ok;
fibs(Count) -> 832040 = fib(30), fibs(Count - 1).

fib(N) when N < 2 -> N;
fib(N) -> fib(N - 1) + fib(N - 2).
