module pivt.io/pivt/hack/devcluster/parts/pause

go 1.26

tool pivt.io/pivt/hack/devcluster/parts/pause
